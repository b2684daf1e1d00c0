//! stub
pub(crate) fn holds_certificate(bytes: &[u8]) -> bool {
    bytes.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----")
}
pub(crate) fn check_pair(_certificate: &[u8], _key: &[u8]) -> Result<(), &'static str> {
    Ok(())
}
