//! How an account proves its password to MySQL and MariaDB.
use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::Fault;

/// The ways to sign in that a check knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugin {
    /// `mysql_native_password`: SHA-1, every server since 4.1.
    Native,
    /// `caching_sha2_password`: MySQL 8's own.
    CachingSha2,
    /// `sha256_password`: its forerunner, always over TLS or RSA.
    Sha256,
    /// `mysql_clear_password`: for PAM and LDAP; over TLS alone.
    Clear,
}

impl Plugin {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "mysql_native_password" => Some(Self::Native),
            "caching_sha2_password" => Some(Self::CachingSha2),
            "sha256_password" => Some(Self::Sha256),
            "mysql_clear_password" => Some(Self::Clear),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Clear => "mysql_clear_password",
        }
    }

    /// What is said first.
    pub(super) fn proof(self, password: &[u8], salt: &[u8], secure: bool) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Native | Self::CachingSha2 if password.is_empty() => Ok(Vec::new()),
            Self::Native => Ok(native(password, salt)),
            Self::CachingSha2 => Ok(caching(password, salt)),
            Self::Sha256 if secure || password.is_empty() => Ok(clear(password)),
            // "Send me your public key."
            Self::Sha256 => Ok(vec![1]),
            // Nobody's password is no secret.
            Self::Clear if secure || password.is_empty() => Ok(clear(password)),
            Self::Clear => Err(Fault::unexpected(
                "the account wants its password in clear text (mysql_clear_password): turn `tls` on",
            )),
        }
    }
}

/// The password as a text that ends with a zero byte.
pub(super) fn clear(password: &[u8]) -> Vec<u8> {
    [password, b"\0"].concat()
}

fn xor(mut bytes: Vec<u8>, mask: &[u8]) -> Vec<u8> {
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    bytes
}

/// SHA1(password) XOR SHA1(salt + SHA1(SHA1(password)))
fn native(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let once = sha1(password);
    let twice = sha1(once.as_ref());
    xor(once.as_ref().to_vec(), sha1(&[salt, twice.as_ref()].concat()).as_ref())
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)) + salt)
fn caching(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let sha256 = |bytes: &[u8]| digest(&SHA256, bytes);
    let once = sha256(password);
    let twice = sha256(once.as_ref());
    xor(once.as_ref().to_vec(), sha256(&[twice.as_ref(), salt].concat()).as_ref())
}

/// The password for whoever has the private key of this public one.
pub(super) fn sealed(password: &[u8], salt: &[u8], key: &[u8]) -> Result<Vec<u8>, Fault> {
    let unusable = || Fault::unexpected("the server's RSA key can't be used: turn `tls` on");
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key).map_err(|_| unusable())?;
    let key = PublicEncryptingKey::from_der(&key).map_err(|_| unusable())?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| unusable())?;
    let mut room = vec![0; key.ciphertext_size()];
    let sealed = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &xor(clear(password), salt), &mut room, None)
        .map_err(|_| unusable())?;
    Ok(sealed.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_undone_with_what_the_server_keeps() {
        let salt = b"12345678901234567890";
        let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        // The server keeps SHA1(SHA1(password)) and sees that the proof's mask hides its preimage.
        let kept = sha1(sha1(b"secret").as_ref());
        let mask = sha1(&[&salt[..], kept.as_ref()].concat());
        let preimage = xor(native(b"secret", salt), mask.as_ref());
        assert_eq!(sha1(&preimage).as_ref(), kept.as_ref());
        let sha256 = |bytes: &[u8]| digest(&SHA256, bytes);
        let kept = sha256(sha256(b"secret").as_ref());
        let mask = sha256(&[kept.as_ref(), &salt[..]].concat());
        let preimage = xor(caching(b"secret", salt), mask.as_ref());
        assert_eq!(sha256(&preimage).as_ref(), kept.as_ref());
    }

    #[test]
    fn a_password_in_clear_needs_tls() {
        assert!(Plugin::Clear.proof(b"secret", b"", false).is_err());
        assert_eq!(Plugin::Clear.proof(b"secret", b"", true).unwrap(), b"secret\0");
        assert_eq!(Plugin::Sha256.proof(b"secret", b"", false).unwrap(), [1]);
        assert!(
            sealed(b"secret", b"salt", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
                .is_err()
        );
    }
}
