//! IMDSv2 session tokens of our own: stateless, bound to the pod, valid across restarts.
//!
//! A token is what the pod's UID and the token's life span hash to under the node's key; nothing is stored, so any
//! process that has the key file can check any token. They must outlive a restart: the Rust SDK keeps using a cached
//! token after a 401. A token is proof that a request was made by code in the pod and not by a tricked proxy; it is
//! never the pod's identity, which comes from the socket alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::workload::Workload;

/// Shortest and longest life of a token, in seconds (AWS: `X-aws-ec2-metadata-token-ttl-seconds`).
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 1..=21_600;

const KEY_FILE: &str = "token.key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
/// What the token is bound to, when it was issued and when it ends (seconds of the Unix epoch).
const HEAD_BYTES: usize = 1 + 8 + 8;
const TOKEN_BYTES: usize = HEAD_BYTES + MAC_BYTES;
const TOKEN_CHARACTERS: usize = TOKEN_BYTES.div_ceil(3) * 4;

/// Why the token key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The key file cannot be read, made or put in place.
    #[error("cannot use the token key {path}")]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "the token key {path} has mode {mode:04o}; others can read it: `chmod 0600` it, or delete it to get a new one"
    )]
    Permissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error("the token key {path} is not {KEY_BYTES} bytes long: delete it to get a new one")]
    Length {
        /// The key file.
        path: PathBuf,
    },
}

/// Issues and checks tokens.
pub struct Tokens {
    key: hmac::Key,
}

/// What a token is bound to.
#[derive(Clone, Copy)]
enum Binding<'a> {
    /// The pod, by its UID.
    Pod(&'a str),
    /// An address whose pod was not known yet; good for the pod that is then found to own it.
    Address(IpAddr),
}

impl Tokens {
    /// With the key kept in `state_dir` (made there, mode 0600, if there is none), or a key for this run only.
    pub fn open(state_dir: Option<&Path>) -> Result<Self, KeyError> {
        let key = match state_dir {
            Some(directory) => load_or_create(directory)?,
            None => new_key()?,
        };
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// A token for a known pod.
    pub fn issue(&self, pod: &Workload, now: Timestamp, ttl_seconds: u32) -> String {
        self.seal(Binding::Pod(pod.uid.as_str()), now, ttl_seconds)
    }

    /// A token for whoever will turn out to own `address`.
    pub fn issue_to_address(&self, address: IpAddr, now: Timestamp, ttl_seconds: u32) -> String {
        self.seal(Binding::Address(address), now, ttl_seconds)
    }

    /// Whether `token` was issued to this pod, or to its address since the pod exists, and has not ended.
    pub fn is_valid(&self, token: &[u8], pod: &Workload, address: IpAddr, now: Timestamp) -> bool {
        let mut bytes = [0; TOKEN_CHARACTERS];
        let Ok(length) = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) else {
            return false;
        };
        if length != TOKEN_BYTES {
            return false;
        }
        let (head, mac) = bytes[..length].split_at(HEAD_BYTES);
        let issued = seconds(&head[1..9]);
        let ends = seconds(&head[9..17]);
        let binding = match head[0] {
            0 => Binding::Pod(pod.uid.as_str()),
            // A token of the address's former owner is not one of this pod.
            1 if issued >= pod.created_at.as_second() => Binding::Address(address),
            _ => return false,
        };
        ends > now.as_second() && hmac::verify(&self.key, &binding.message(head), mac).is_ok()
    }

    fn seal(&self, binding: Binding<'_>, now: Timestamp, ttl_seconds: u32) -> String {
        let issued = now.as_second();
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.push(binding.kind());
        token.extend(issued.to_be_bytes());
        token.extend((issued + i64::from(ttl_seconds)).to_be_bytes());
        let mac = hmac::sign(&self.key, &binding.message(&token));
        token.extend(mac.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }
}

impl Binding<'_> {
    fn kind(self) -> u8 {
        match self {
            Self::Pod(_) => 0,
            Self::Address(_) => 1,
        }
    }

    fn message(self, head: &[u8]) -> Vec<u8> {
        let mut message = head.to_vec();
        match self {
            Self::Pod(uid) => message.extend(uid.as_bytes()),
            Self::Address(IpAddr::V4(address)) => message.extend(address.octets()),
            Self::Address(IpAddr::V6(address)) => message.extend(address.octets()),
        }
        message
    }
}

fn seconds(bytes: &[u8]) -> i64 {
    bytes
        .iter()
        .fold(0, |value, byte| (value << 8) | i64::from(*byte))
}

fn new_key() -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| KeyError::Random)?;
    Ok(key)
}

fn load_or_create(directory: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let path = directory.join(KEY_FILE);
    let failed = |source| KeyError::File {
        path: path.clone(),
        source,
    };
    match File::open(&path) {
        Ok(file) => read_key(file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory).map_err(failed)?;
            create_key(directory, &path)
        }
        Err(error) => Err(failed(error)),
    }
}

fn read_key(mut file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    let mut key = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    Read::by_ref(&mut file)
        .take(KEY_BYTES as u64 + 1)
        .read_to_end(&mut key)
        .map_err(failed)?;
    if key.len() == KEY_BYTES {
        Ok(key)
    } else {
        Err(KeyError::Length {
            path: path.to_owned(),
        })
    }
}

/// Writes the key beside its place and links it there: two agents that start at once (a hand-over) end up with one key.
fn create_key(directory: &Path, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let key = new_key()?;
    let draft = directory.join(format!(".{KEY_FILE}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Ok(()) => removed.map_err(failed).map(|()| key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_key(File::open(path).map_err(failed)?, path)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::PodUid;

    fn pod(uid: &str, created_at: &str) -> Workload {
        Workload {
            created_at: created_at.parse().unwrap(),
            ..Workload::new(PodUid::new(uid), "n", "p")
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_pod_until_it_ends_and_for_nobody_else() {
        let tokens = Tokens::open(None).unwrap();
        let (a, b) = (
            pod("a", "2026-01-01T00:00:00Z"),
            pod("b", "2026-01-01T00:00:00Z"),
        );
        let token = tokens.issue(&a, at("2026-01-01T01:00:00Z"), 60);
        let valid = |pod, now| tokens.is_valid(token.as_bytes(), pod, HERE, at(now));
        assert!(valid(&a, "2026-01-01T01:00:59Z"));
        assert!(!valid(&a, "2026-01-01T01:01:00Z"), "ended");
        assert!(!valid(&b, "2026-01-01T01:00:10Z"), "another pod");
    }

    #[test]
    fn a_token_issued_before_the_pod_was_known_is_good_once_it_is() {
        let tokens = Tokens::open(None).unwrap();
        let token = tokens.issue_to_address(HERE, at("2026-01-01T01:00:00Z"), 600);
        let valid = |pod: &Workload, address| {
            tokens.is_valid(token.as_bytes(), pod, address, at("2026-01-01T01:00:30Z"))
        };
        assert!(valid(&pod("a", "2026-01-01T00:59:58Z"), HERE));
        assert!(
            !valid(&pod("a", "2026-01-01T00:59:58Z"), ELSEWHERE),
            "another address"
        );
        assert!(
            !valid(&pod("later", "2026-01-01T01:00:10Z"), HERE),
            "the address's next owner"
        );
    }

    #[test]
    fn any_changed_byte_makes_a_token_invalid() {
        let tokens = Tokens::open(None).unwrap();
        let a = pod("a", "2026-01-01T00:00:00Z");
        let now = at("2026-01-01T01:00:00Z");
        let good = tokens.issue(&a, now, 60).into_bytes();
        assert!(tokens.is_valid(&good, &a, HERE, now));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            assert!(!tokens.is_valid(&bad, &a, HERE, now), "byte {at}");
        }
        for bad in [
            &b""[..],
            b"x",
            &good[1..],
            &[good.clone(), b"AA".to_vec()].concat(),
            &[b'A'; 400],
        ] {
            assert!(!tokens.is_valid(bad, &a, HERE, now));
        }
    }

    #[test]
    fn a_token_is_a_legal_header_value() {
        let token = Tokens::open(None).unwrap().issue(
            &pod("a", "2026-01-01T00:00:00Z"),
            Timestamp::UNIX_EPOCH,
            1,
        );
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{token}"
        );
    }

    #[test]
    fn tokens_outlive_a_restart_through_the_key_file() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("made/when/missing");
        let (a, now) = (pod("a", "2026-01-01T00:00:00Z"), at("2026-01-01T01:00:00Z"));
        let token = Tokens::open(Some(&directory)).unwrap().issue(&a, now, 60);
        let restarted = Tokens::open(Some(&directory)).unwrap();
        assert!(restarted.is_valid(token.as_bytes(), &a, HERE, now));
        let mode = fs::metadata(directory.join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(
            fs::read_dir(&directory).unwrap().count(),
            1,
            "no draft is left behind"
        );
        let stranger = Tokens::open(None).unwrap();
        assert!(!stranger.is_valid(token.as_bytes(), &a, HERE, now));
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(KEY_FILE);
        Tokens::open(Some(state.path())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Tokens::open(Some(state.path())).err().unwrap().to_string();
        assert!(
            refused.contains("0640") && refused.contains("chmod 0600"),
            "{refused}"
        );
        fs::write(&path, b"short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            Tokens::open(Some(state.path())),
            Err(KeyError::Length { .. })
        ));
    }
}
