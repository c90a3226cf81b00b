//! What only this process can answer: a nonce, authenticated with a key that is made at the start and kept nowhere. Pods
//! may ask for as many proofs as they like: a proof says nothing but who made it, and a pod cannot take our place.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

const NONCE_BYTES: usize = 16;
/// How every podiam begins its answer, whatever its key.
const GREETING: &str = "podiam-self-test ";

/// A number that is asked for once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// Reads 32 hexadecimal digits in lower case; nothing else is a nonce.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * NONCE_BYTES {
            return None;
        }
        let mut bytes = [0; NONCE_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

/// Who wrote an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// This process.
    Own,
    /// Another podiam.
    OtherAgent,
    /// Somebody else.
    Stranger,
}

/// Answers and recognises its own answers.
pub struct Prover {
    key: hmac::Key,
    random: SystemRandom,
}

impl Prover {
    /// With a key of this process's own.
    pub fn new() -> Result<Self, NoRandom> {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| NoRandom)?;
        Ok(Self { key, random })
    }

    /// The body of the answer.
    pub fn answer(&self, nonce: Nonce) -> String {
        let proof = hmac::sign(&self.key, &nonce.0);
        let hex = proof.as_ref().iter().map(|byte| format!("{byte:02x}"));
        std::iter::once(GREETING.to_owned()).chain(hex).collect()
    }

    /// A number that nobody was asked for yet, and random bits for the name of a link.
    pub(super) fn question(&self) -> Result<(Nonce, u32), NoRandom> {
        let (mut nonce, mut seed) = ([0; NONCE_BYTES], [0; 4]);
        self.random.fill(&mut nonce).map_err(|_| NoRandom)?;
        self.random.fill(&mut seed).map_err(|_| NoRandom)?;
        Ok((Nonce(nonce), u32::from_be_bytes(seed)))
    }

    /// Whose a whole HTTP reply is. Only the body of this process's own answer can end it like that.
    pub(super) fn author(&self, nonce: Nonce, reply: &str) -> Author {
        let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if body == self.answer(nonce) {
            Author::Own
        } else if body.starts_with(GREETING) {
            Author::OtherAgent
        } else {
            Author::Stranger
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_itself_answers_its_nonce() {
        let (own, other) = (Prover::new().unwrap(), Prover::new().unwrap());
        let (nonce, _) = own.question().unwrap();
        let (earlier, _) = own.question().unwrap();
        let reply = |body: String| format!("HTTP/1.1 200 OK\r\nserver: EC2ws\r\n\r\n{body}");
        for (body, author) in [
            (own.answer(nonce), Author::Own),
            (own.answer(earlier), Author::OtherAgent),
            (other.answer(nonce), Author::OtherAgent),
            ("404 - Not Found".to_owned(), Author::Stranger),
            (String::new(), Author::Stranger),
        ] {
            assert_eq!(own.author(nonce, &reply(body.clone())), author, "{body}");
        }
        assert_eq!(own.author(nonce, ""), Author::Stranger);
    }

    #[test]
    fn a_nonce_is_read_as_it_is_written() {
        let (nonce, _) = Prover::new().unwrap().question().unwrap();
        assert_eq!(Nonce::parse(&nonce.to_string()), Some(nonce));
    }
}
