//! Readers of foreign bytes, written for the tests from the formats' own descriptions.

/// A field of a protobuf message.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Whole(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

/// The fields of a message, in order.
pub fn message(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Whole(varint(&mut bytes)),
            1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes);
                Field::Bytes(take(&mut bytes, length as usize).to_vec())
            }
            5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            kind => panic!("no wire type {kind}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The inner bytes of every field with this number.
pub fn inner(bytes: &[u8], number: u64) -> Vec<Vec<u8>> {
    let of = |(known, field)| match field {
        Field::Bytes(bytes) if known == number => Some(bytes),
        _ => None,
    };
    message(bytes).into_iter().filter_map(of).collect()
}

pub fn text(bytes: &[u8], number: u64) -> String {
    String::from_utf8(inner(bytes, number).pop().unwrap_or_default()).unwrap()
}

pub fn whole(bytes: &[u8], number: u64) -> u64 {
    message(bytes)
        .into_iter()
        .find_map(|(known, field)| if let (true, Field::Whole(n)) = (known == number, field) { Some(n) } else { None })
        .unwrap_or(0)
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for at in 0..10 {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

pub fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (first, rest) = bytes.split_at(count);
    *bytes = rest;
    first
}

/// A CRC-32 bit by bit, for a polynomial in its reversed form.
pub fn crc(polynomial: u32, bytes: &[u8]) -> u32 {
    let mut sum = !0u32;
    for byte in bytes {
        for bit in 0..8 {
            let odd = (sum ^ u32::from(byte >> bit)) & 1 == 1;
            sum >>= 1;
            if odd {
                sum ^= polynomial;
            }
        }
    }
    !sum
}
