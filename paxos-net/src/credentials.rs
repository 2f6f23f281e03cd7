//! A certificate folder, read and checked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::certs::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, Leaf};
use crate::identity::{Identity, IdentityError};

/// What a node or a client proves itself with, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    identity: Identity,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
}

/// Why a certificate folder was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file could not be read.
    #[error("{path}: {error}; a certificate folder holds cert.pem, key.pem and ca.pem")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner may read the key.
    #[error("{path}: others may read this key (mode {mode:04o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds something else.
    #[error("{path}: {error}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was found.
        error: String,
    },
    /// The certificate is nobody's.
    #[error("{path}: {error}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        error: IdentityError,
    },
    /// The key is that of another certificate, or no key that can be used.
    #[error("{path}: the key does not belong to {CERTIFICATE_FILE} beside it: {error}")]
    KeyMismatch {
        /// The file.
        path: PathBuf,
        /// What was found.
        error: rustls::Error,
    },
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Credentials {
            identity: self.identity.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authorities: self.authorities.clone(),
        }
    }
}

impl Credentials {
    /// Reads `cert.pem`, `key.pem` and `ca.pem`.
    ///
    /// # Errors
    /// See [`CredentialsError`]; each names the file.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let leaf = Leaf {
            key: read_key(&folder.join(KEY_FILE))?,
            certificate: read(&folder.join(CERTIFICATE_FILE))?,
            authority: read(&folder.join(AUTHORITY_FILE))?,
        };
        Self::checked(&leaf, folder)
    }

    /// The same without files, for certificates made a moment ago.
    ///
    /// # Errors
    /// See [`CredentialsError`]; the paths are those of no folder.
    pub fn of_leaf(leaf: &Leaf) -> Result<Self, CredentialsError> {
        Self::checked(leaf, Path::new(""))
    }

    fn checked(leaf: &Leaf, folder: &Path) -> Result<Self, CredentialsError> {
        let path = folder.join(CERTIFICATE_FILE);
        let chain = certificates(&leaf.certificate, &path)?;
        let identity = Identity::of_certificate(&chain[0])
            .map_err(|error| CredentialsError::Identity { path, error })?;
        let authorities = certificates(&leaf.authority, &folder.join(AUTHORITY_FILE))?;
        let path = folder.join(KEY_FILE);
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(|error| {
            CredentialsError::NotPem {
                path: path.clone(),
                error: format!("no private key: {error}"),
            }
        })?;
        CertifiedKey::from_der(
            chain.clone(),
            key.clone_key(),
            &rustls::crypto::ring::default_provider(),
        )
        .map_err(|error| CredentialsError::KeyMismatch { path, error })?;
        Ok(Credentials { identity, chain, key, authorities })
    }

    /// Whose they are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }
}

fn certificates(pem: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let not_pem = |error: String| CredentialsError::NotPem { path: path.to_owned(), error };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(format!("not in PEM form: {error}")))?;
    if found.is_empty() { Err(not_pem("holds no certificate".to_owned())) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path).map_err(|error| CredentialsError::Io { path: path.to_owned(), error })
}

/// The mode is asked of the open file, so that it is that of the bytes read.
fn read_key(path: &Path) -> Result<String, CredentialsError> {
    let io = |error| CredentialsError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CredentialsError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use paxos_core::{ClusterId, NodeId};

    const CLUSTER: ClusterId = ClusterId(0xfeed);

    fn folder_of(identity: &Identity) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(CLUSTER).unwrap();
        authority.issue(identity).unwrap().save(folder.path()).unwrap();
        folder
    }

    #[test]
    fn a_folder_reads_back_also_from_a_reloaded_authority() {
        let ada = Identity::client(CLUSTER, "ada").unwrap();
        assert_eq!(Credentials::load(folder_of(&ada).path()).unwrap().identity(), &ada);
        let ca = tempfile::tempdir().unwrap();
        Authority::create(CLUSTER).unwrap().save(ca.path()).unwrap();
        let leaf = Authority::load(ca.path()).unwrap().issue(&ada).unwrap();
        assert_eq!(Credentials::of_leaf(&leaf).unwrap().identity(), &ada);
    }

    #[test]
    fn sec14_a_key_that_others_can_read_is_refused_by_name() {
        let folder = folder_of(&Identity::peer(CLUSTER, NodeId(1)));
        let key = folder.path().join(KEY_FILE);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            let error = Credentials::load(folder.path()).unwrap_err();
            assert!(matches!(error, CredentialsError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("key.pem"), "{error}");
        }
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let one = folder_of(&Identity::peer(CLUSTER, NodeId(1)));
        let two = folder_of(&Identity::peer(CLUSTER, NodeId(2)));
        fs::copy(two.path().join(KEY_FILE), one.path().join(KEY_FILE)).unwrap();
        let error = Credentials::load(one.path()).unwrap_err();
        assert!(matches!(error, CredentialsError::KeyMismatch { .. }), "{error}");
    }

    #[test]
    fn missing_and_foreign_files_are_named() {
        let folder = folder_of(&Identity::peer(CLUSTER, NodeId(1)));
        let certificate = folder.path().join(CERTIFICATE_FILE);
        fs::write(&certificate, "hello").unwrap();
        let error = Credentials::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cert.pem: holds no certificate"), "{error}");
        fs::remove_file(&certificate).unwrap();
        let error = Credentials::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cert.pem"), "{error}");
    }
}
