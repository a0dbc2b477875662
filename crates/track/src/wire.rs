//! Bytes that foreign readers check: protobuf fields and the two CRC-32 that frame them.
//!
//! Facts: protobuf.dev/programming-guides/encoding; IEEE 802.3 polynomial as in zlib; the
//! Castagnoli polynomial of RFC 3720 with the mask of TensorFlow's record files.

/// A protobuf message, field after field.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Message {
        Message::default()
    }

    /// An integer or an enum.
    pub fn whole(mut self, field: u32, value: u64) -> Message {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    pub fn double(mut self, field: u32, value: f64) -> Message {
        self.varint(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn text(self, field: u32, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    pub fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, &value.0)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn bytes(mut self, field: u32, value: &[u8]) -> Message {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits; more follow.
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// CRC-32 as in zlib.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    sum(&IEEE, parts)
}

/// CRC-32C as TensorFlow's record files store it.
pub(crate) fn masked_crc32c(bytes: &[u8]) -> u32 {
    sum(&CASTAGNOLI, &[bytes]).rotate_right(15).wrapping_add(0xa282_ead8)
}

static IEEE: [u32; 256] = table(0xedb8_8320);
static CASTAGNOLI: [u32; 256] = table(0x82f6_3b78);

/// What each byte does to a sum, for a polynomial with its bits reversed.
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ polynomial } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

fn sum(table: &[u32; 256], parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    !bytes.fold(!0, |sum, byte| sum >> 8 ^ table[((sum ^ u32::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_published_vectors() {
        // The check value of both polynomials in the catalogue of CRC algorithms.
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(sum(&CASTAGNOLI, &[b"123456789"]), 0xe306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(sum(&CASTAGNOLI, &[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(sum(&CASTAGNOLI, &[&[0xff; 32]]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(sum(&CASTAGNOLI, &[&rising]), 0x46dd_794e);
        // ((sum >> 15) | (sum << 17)) + 0xa282ead8, by hand.
        assert_eq!(masked_crc32c(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn fields_are_spelled_as_protobuf_says() {
        // The examples of the encoding guide: 150 in field 1, "testing" in field 2.
        assert_eq!(Message::new().whole(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().text(2, "testing").into_bytes(), b"\x12\x07testing");
        assert_eq!(Message::new().message(3, Message::new().whole(1, 150)).into_bytes(), [0x1a, 3, 8, 0x96, 1]);
        assert_eq!(Message::new().double(1, 1.0).into_bytes(), [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(Message::new().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::new().whole(17, u64::MAX).into_bytes(), [0x88, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }
}
