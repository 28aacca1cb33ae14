//! Package `istio.v1.auth`: the certificate service.

/// Full name of the signing method.
pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// Asks for a certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateRequest {
    /// PKCS #10 request as PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Wanted life in seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// `ImpersonatedIdentity`: on whose behalf.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<prost_types::Struct>,
}

/// The certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateResponse {
    /// PEM: leaf first, then intermediates, roots last (one element may hold several).
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}
