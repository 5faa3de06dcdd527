//! The one way in which this crate turns fields into bytes that are signed or authenticated: a
//! name of the purpose, then each field with its length before it. Two different lists of fields
//! never give the same bytes, and no bytes made for one purpose are valid for another.

/// Bytes under construction.
pub(crate) struct Statement(Vec<u8>);

impl Statement {
    /// Starts with the purpose: its name and version, closed by a zero byte.
    pub(crate) fn new(purpose: &str) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(purpose.as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    /// Adds a field of any length.
    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Adds a number.
    pub(crate) fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Adds a text.
    pub(crate) fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// The finished bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let one = Statement::new("t").text("ab").text("c").finish();
        let other = Statement::new("t").text("a").text("bc").finish();
        assert_ne!(one, other);
        assert_ne!(one, Statement::new("u").text("ab").text("c").finish());
    }
}
