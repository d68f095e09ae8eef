//! Short texts, made where nothing can be allocated.

/// A short text that ends with a NUL.
pub(super) struct Text(pub(super) [u8; TEXT], pub(super) usize);

const TEXT: usize = 128;

impl Text {
    pub(super) fn new() -> Self {
        Self([0; TEXT], 0)
    }

    pub(super) fn add(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            // The last one stays 0.
            if let Some(place) = self.0.get_mut(self.1).filter(|_| self.1 < TEXT - 1) {
                *place = *byte;
                self.1 += 1;
            }
        }
        self
    }

    pub(super) fn number(&mut self, number: u32) -> &mut Self {
        if number > 9 {
            self.number(number / 10);
        }
        self.add(&[b'0' + u8::try_from(number % 10).unwrap_or(0)])
    }

    pub(super) fn hex(&mut self, number: usize) -> &mut Self {
        self.add(b"0x");
        let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = b"0123456789abcdef".get(number >> (4 * place) & 15);
            self.add(digit.map_or(&[], std::slice::from_ref));
        }
        self
    }
}
