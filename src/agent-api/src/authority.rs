//! Toolplane's own certificate authority.
//!
//! Its key follows from the master key, and its certificate from the key alone (fixed serial number and validity,
//! deterministic Ed25519 signature): every replica, and every restart, presents the same one, and none is stored.

use crate::Error;
use jiff::{SignedDuration, Timestamp};
use model::EnvironmentId;
use rand::Rng;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::{fmt, net::IpAddr, sync::Arc, time::SystemTime};
use zeroize::Zeroizing;

/// How long an agent's or a server's certificate is good for.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Leaves are valid from a little before they are made: a droplet that just booted may have a slow clock.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// DER of a PKCS#8 v1 `PrivateKeyInfo` for Ed25519 up to the 32 bytes of the seed (RFC 8410, section 7).
const ED25519_PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The name that an environment's agent proves with its certificate. It resolves nowhere; clients bring the address.
pub fn agent_server_name(environment: EnvironmentId) -> String {
    format!("{environment}.dtma.toolplane.internal")
}

/// The authority. Clones share it.
#[derive(Clone)]
pub struct CertificateAuthority {
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
    pem: Arc<str>,
}

/// A certificate with its key, for a server of the control plane.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// The leaf, then the authority, as PEM.
    pub chain_pem: String,
    /// PKCS#8 as PEM.
    pub key_pem: SecretString,
}

impl CertificateAuthority {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let key = key_from_seed(seed)?;
        let fingerprint = hex::encode(Sha256::digest(key.subject_public_key_info()));
        let mut params = CertificateParams::default();
        // The name tells two installations' authorities apart, for people who look at a certificate.
        params.distinguished_name = common_name(format!("Toolplane CA {}", &fingerprint[..8]));
        params.serial_number = Some(SerialNumber::from(1));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(Error::certificate("the authority's certificate"))?;
        Ok(Self {
            pem: issuer.pem().into(),
            issuer: Arc::new(issuer),
        })
    }

    /// The authority's own certificate: what clients trust.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for the agent of one environment over the key in its signing request.
    ///
    /// Of the request only the key is used, and only after its signature was checked: names come from the caller, so
    /// that a droplet cannot ask for another's. The names are [`agent_server_name`] and the droplet's address, once known.
    pub fn issue_agent(&self, csr_pem: &str, environment: EnvironmentId, address: Option<IpAddr>) -> Result<String, Error> {
        let mut request =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(Error::certificate("the certificate signing request"))?;
        let name = agent_server_name(environment);
        let mut names = vec![name.clone()];
        names.extend(address.map(|address| address.to_string()));
        request.params = leaf(name, names)?;
        request
            .signed_by(&self.issuer)
            .map(|certificate: Certificate| certificate.pem())
            .map_err(Error::certificate("an agent's certificate"))
    }

    /// A certificate and a fresh key for a server of the control plane. Each of `names` is a DNS name or an IP address.
    pub fn issue_server(&self, names: &[String]) -> Result<ServerCertificate, Error> {
        // P-256 and not Ed25519: browsers offer no Ed25519 in a handshake, and the dashboard is for browsers.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::certificate("a server's key"))?;
        let common = names.first().cloned().unwrap_or_else(|| "toolplane".to_owned());
        let certificate = leaf(common, names.to_vec())?
            .signed_by(&key, &self.issuer)
            .map_err(Error::certificate("a server's certificate"))?;
        Ok(ServerCertificate {
            chain_pem: format!("{}{}", certificate.pem(), self.pem),
            key_pem: key.serialize_pem().into(),
        })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

fn key_from_seed(seed: &[u8; 32]) -> Result<KeyPair, Error> {
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&ED25519_PKCS8_PREFIX);
    der[16..].copy_from_slice(seed);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_slice()), &PKCS_ED25519)
        .map_err(Error::certificate("the authority's key"))
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn leaf(common: String, names: Vec<String>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names).map_err(Error::certificate("a certificate's names"))?;
    let now = Timestamp::now();
    params.distinguished_name = common_name(common);
    params.serial_number = Some(SerialNumber::from_slice(&rand::rng().random::<[u8; 16]>()));
    params.not_before = SystemTime::from(now - CLOCK_SKEW).into();
    params.not_after = SystemTime::from(now + LEAF_LIFETIME).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentKey, MasterKey};
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::{parse_x509_certificate, prelude::GeneralName};

    #[test]
    fn the_same_master_key_gives_the_same_authority() {
        let key: MasterKey = "ab".repeat(32).parse().unwrap();
        let (one, two) = (key.certificate_authority().unwrap(), key.certificate_authority().unwrap());
        assert_eq!(one.certificate_pem(), two.certificate_pem());
        let other: MasterKey = "ac".repeat(32).parse().unwrap();
        assert_ne!(
            one.certificate_pem(),
            other.certificate_authority().unwrap().certificate_pem()
        );
        assert_eq!(format!("{one:?}"), "CertificateAuthority { .. }");
    }

    #[test]
    fn an_agents_certificate_carries_our_names_and_none_of_its_own() {
        let authority = MasterKey::generate().unwrap().certificate_authority().unwrap();
        let environment = EnvironmentId::random();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut wish = CertificateParams::new(vec!["backend.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let csr = wish.serialize_request(&key).unwrap().pem().unwrap();

        let pem = authority
            .issue_agent(&csr, environment, Some("192.0.2.7".parse().unwrap()))
            .unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [
                GeneralName::DNSName(&agent_server_name(environment)),
                GeneralName::IPAddress(&[192, 0, 2, 7])
            ]
        );
        assert!(!certificate.is_ca());
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
        let days = (certificate.validity().not_after.timestamp() - Timestamp::now().as_second()) / 86_400;
        assert!((88..=90).contains(&days), "{days}");
    }

    #[test]
    fn a_request_whose_signature_is_broken_gets_nothing() {
        let authority = MasterKey::generate().unwrap().certificate_authority().unwrap();
        let csr = AgentKey::generate().unwrap().csr_pem().unwrap();
        let mut der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(csr.as_bytes())
            .unwrap()
            .to_vec();
        *der.last_mut().unwrap() ^= 1;
        let broken = crate::tls::pem("CERTIFICATE REQUEST", &der);
        assert!(authority.issue_agent(&csr, EnvironmentId::random(), None).is_ok());
        assert!(matches!(
            authority.issue_agent(&broken, EnvironmentId::random(), None),
            Err(Error::Certificate { .. })
        ));
    }
}
