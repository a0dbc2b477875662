//! Cuts HTML into texts and tags, as a browser would, whatever is broken.

/// An opening tag.
pub struct Tag {
    pub name: String,
    attributes: Vec<(String, String)>,
    /// `<br/>`
    pub closed: bool,
}

pub enum Token<'a> {
    Text(&'a str),
    Open(Tag),
    Close(String),
}

/// What is left to read.
pub struct Tokens<'a> {
    rest: &'a str,
}

impl Tag {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl<'a> Tokens<'a> {
    pub fn new(html: &'a str) -> Self {
        Tokens { rest: html }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Past the end tag of an element whose content is no HTML.
    pub fn skip_raw(&mut self, name: &str) {
        let bytes = self.rest.as_bytes();
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("</").map(|n| n + from) {
            let after = at + 2 + name.len();
            let named = bytes.get(at + 2..after).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
            if named && !bytes.get(after).is_some_and(u8::is_ascii_alphanumeric) {
                let end = self.rest[after..].find('>').map_or(self.rest.len(), |n| after + n + 1);
                return self.skip(end);
            }
            from = at + 2;
        }
        self.rest = "";
    }

    /// Past the end tag of an element, over others of its name in it.
    pub fn skip_element(&mut self, name: &str) {
        let mut depth = 1;
        while depth > 0
            && let Some(token) = self.next()
        {
            match token {
                Token::Open(tag) if tag.name == "script" || tag.name == "style" => self.skip_raw(tag.name.as_str()),
                Token::Open(tag) if tag.name == name && !tag.closed => depth += 1,
                Token::Close(closed) if closed == name => depth -= 1,
                _ => {}
            }
        }
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let Some(at) = self.tag_at() else {
                return Some(Token::Text(std::mem::take(&mut self.rest)));
            };
            if at > 0 {
                let text = &self.rest[..at];
                self.skip(at);
                return Some(Token::Text(text));
            }
            if let Some(token) = self.tag() {
                return Some(token);
            }
        }
    }

    /// Where the next `<` stands that begins a tag or a comment.
    fn tag_at(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        let begins = |at: usize| match bytes.get(at + 1) {
            Some(b'!' | b'?') => true,
            Some(b'/') => bytes.get(at + 2).is_some_and(u8::is_ascii_alphabetic),
            Some(c) => c.is_ascii_alphabetic(),
            None => false,
        };
        self.rest.match_indices('<').map(|(at, _)| at).find(|at| begins(*at))
    }

    /// Reads the tag that begins here; none for a comment.
    fn tag(&mut self) -> Option<Token<'a>> {
        if self.rest.starts_with("<!--") {
            let end = self.rest[4..].find("-->").map_or(self.rest.len(), |n| n + 7);
            self.skip(end);
            return None;
        }
        if self.rest.starts_with("<!") || self.rest.starts_with("<?") {
            let end = self.rest.find('>').map_or(self.rest.len(), |n| n + 1);
            self.skip(end);
            return None;
        }
        let close = self.rest.starts_with("</");
        self.skip(if close { 2 } else { 1 });
        let name = self.word(|c| c.is_whitespace() || c == '>' || c == '/').to_ascii_lowercase();
        let mut tag = Tag { name, attributes: Vec::new(), closed: false };
        self.attributes(&mut tag);
        Some(if close { Token::Close(tag.name) } else { Token::Open(tag) })
    }

    fn word(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.skip(end);
        word
    }

    fn attributes(&mut self, tag: &mut Tag) {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.as_bytes().first() {
                None => return,
                Some(b'>') => return self.skip(1),
                Some(b'/') => {
                    self.skip(1);
                    tag.closed = self.rest.starts_with('>');
                    continue;
                }
                Some(b'=') => {
                    self.skip(1);
                    continue;
                }
                Some(_) => {}
            }
            let name = self.word(|c| c.is_whitespace() || matches!(c, '=' | '>' | '/')).to_ascii_lowercase();
            self.rest = self.rest.trim_start();
            let value = if self.rest.starts_with('=') { self.value() } else { String::new() };
            // A thousand attributes are no mail.
            if tag.attributes.len() < 64 {
                tag.attributes.push((name, value));
            }
        }
    }

    fn value(&mut self) -> String {
        self.skip(1);
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let Some(quote) = quote else { return self.word(|c| c.is_whitespace() || c == '>').to_string() };
        self.skip(1);
        let value = self.word(|c| c == quote).to_string();
        self.skip(1);
        value
    }
}
