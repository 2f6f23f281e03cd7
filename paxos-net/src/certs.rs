//! Makes certificates: one private authority for a cluster, and a leaf for each holder.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paxos_core::ClusterId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SerialNumber,
};
use thiserror::Error;

use crate::identity::{Identity, Role, server_name};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority lives.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * DAY.as_secs());

/// How long a leaf lives. There is no renewal without a restart yet, so it is longer than the 90
/// days that would be fit for a node.
pub const LEAF_LIFE: Duration = Duration::from_secs(825 * DAY.as_secs());

/// Certificates are valid from this long before they are made: clocks differ.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// The certificate of a folder made by [`Leaf::save`].
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The private key of a folder made by [`Leaf::save`].
pub const KEY_FILE: &str = "key.pem";
/// The authority's certificate, in a leaf's folder and in the authority's own.
pub const AUTHORITY_FILE: &str = "ca.pem";
/// The authority's private key. It is needed to make certificates and nowhere else: keep it off
/// the nodes.
pub const AUTHORITY_KEY_FILE: &str = "ca-key.pem";

/// The kind of keys that an authority and its leaves have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256: every tool reads it.
    #[default]
    EcdsaP256,
    /// Ed25519: its signatures have one length, and so have handshakes. OpenSSL 3.0 does not read
    /// the form in which such keys are saved here.
    Ed25519,
}

/// The certificate authority of a cluster.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its private key and the authority that it verifies against.
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// The authority's certificate.
    pub authority: String,
}

/// Why certificates were not made, saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A file is in the way.
    #[error("{path}: exists already; move it away if it is to be replaced")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file or a folder could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Certificate or key of the authority are not what they should be.
    #[error("{path}: not a usable certificate authority: {error}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What was found.
        error: rcgen::Error,
    },
    /// The identity cannot stand in a certificate.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// Making the certificate failed.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

impl Authority {
    /// Makes an authority for a cluster. Its certificate can sign leaves only.
    ///
    /// # Errors
    /// [`CertsError::Making`] if there is no randomness.
    pub fn create(cluster: ClusterId) -> Result<Self, CertsError> {
        Self::create_with(cluster, KeyKind::default())
    }

    /// [`Authority::create`] with keys of some kind.
    ///
    /// # Errors
    /// [`CertsError::Making`] if there is no randomness.
    pub fn create_with(cluster: ClusterId, keys: KeyKind) -> Result<Self, CertsError> {
        let mut params = params(AUTHORITY_LIFE)?;
        // Two authorities of one cluster, one following the other, must not have one name: a
        // certificate would be tried against the wrong one and seem forged rather than foreign.
        let tag = getrandom::u32().map_err(|_| rcgen::Error::RingUnspecified)?;
        let name = format!("paxos cluster {cluster} authority {tag:08x}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(match keys {
            KeyKind::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::Ed25519 => &PKCS_ED25519,
        })?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Authority { pem, issuer: Issuer::new(params, key) })
    }

    /// Reads an authority that was saved.
    ///
    /// # Errors
    /// [`CertsError::Io`], [`CertsError::Unusable`].
    pub fn load(folder: &Path) -> Result<Self, CertsError> {
        let unusable = |error| CertsError::Unusable { path: folder.to_owned(), error };
        let pem = read(&folder.join(AUTHORITY_FILE))?;
        let key = read(&folder.join(AUTHORITY_KEY_FILE))?;
        let key = KeyPair::from_pem(&key).map_err(unusable)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(unusable)?;
        Ok(Authority { pem, issuer })
    }

    /// Writes certificate and key to a folder that only its owner may enter.
    ///
    /// # Errors
    /// [`CertsError::Exists`], [`CertsError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), CertsError> {
        make_folder(folder)?;
        write(&folder.join(AUTHORITY_KEY_FILE), &self.issuer.key().serialize_pem(), 0o600)?;
        write(&folder.join(AUTHORITY_FILE), &self.pem, 0o644)
    }

    /// Makes a certificate, with a key of the same kind as the authority's. Nodes may dial and
    /// listen with theirs, everybody else only dial.
    ///
    /// # Errors
    /// [`CertsError::Identity`] for a name that cannot stand in a certificate.
    pub fn issue(&self, identity: &Identity) -> Result<Leaf, CertsError> {
        let uri = identity.to_string();
        uri.parse::<Identity>()?;
        let mut params = params(LEAF_LIFE)?;
        params.distinguished_name.push(DnType::CommonName, identity.name());
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        if let Role::Peer(node) = identity.role {
            let name = server_name(identity.cluster, node);
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate_for(self.issuer.key().algorithm())?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf { certificate, key: key.serialize_pem(), authority: self.pem.clone() })
    }
}

impl Leaf {
    /// Writes the three files to a folder that only its owner may enter.
    ///
    /// # Errors
    /// [`CertsError::Exists`], [`CertsError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), CertsError> {
        make_folder(folder)?;
        write(&folder.join(KEY_FILE), &self.key, 0o600)?;
        write(&folder.join(CERTIFICATE_FILE), &self.certificate, 0o644)?;
        write(&folder.join(AUTHORITY_FILE), &self.authority, 0o644)
    }
}

fn params(life: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + (now + life);
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Always of one length: positive, and the first byte is never 0.
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn make_folder(path: &Path) -> Result<(), CertsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|error| CertsError::Io { path: path.to_owned(), error })
}

fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|error| CertsError::Io { path: path.to_owned(), error })
}

/// Creates the file with its mode, so that a key is at no moment readable by others.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists { path: path.to_owned() },
        _ => CertsError::Io { path: path.to_owned(), error },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::NodeId;

    const CLUSTER: ClusterId = ClusterId(0xfeed);

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let (ca, node) = (root.path().join("ca"), root.path().join("node-1"));
        let authority = Authority::create(CLUSTER).unwrap();
        authority.save(&ca).unwrap();
        authority.issue(&Identity::peer(CLUSTER, NodeId(1))).unwrap().save(&node).unwrap();
        assert_eq!(mode(&ca), 0o700);
        assert_eq!(mode(&ca.join(AUTHORITY_KEY_FILE)), 0o600);
        assert_eq!(mode(&node), 0o700);
        assert_eq!(mode(&node.join(KEY_FILE)), 0o600);
    }

    #[test]
    fn certificates_of_one_holder_have_one_size() {
        let sizes = (0..20).map(|_| {
            let authority = Authority::create_with(CLUSTER, KeyKind::Ed25519).unwrap();
            authority.issue(&Identity::peer(CLUSTER, NodeId(1))).unwrap().certificate.len()
        });
        assert_eq!(sizes.collect::<std::collections::BTreeSet<_>>().len(), 1);
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let authority = Authority::create(CLUSTER).unwrap();
        authority.save(root.path()).unwrap();
        assert!(matches!(authority.save(root.path()), Err(CertsError::Exists { .. })));
    }
}
