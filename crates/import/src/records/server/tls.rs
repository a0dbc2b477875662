//! A connection that nobody else reads, to a server that proves who it is.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;

use super::Failure;

/// Shakes hands. The certificate must be one that this system trusts, and the host's.
pub(super) fn private(mut stream: TcpStream, host: &str) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
    let unable = |why: String| Failure::Unable(format!("no private connection: {why}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.and_then(|builder| builder.with_platform_verifier()).map_err(|e| unable(e.to_string()))?.with_no_client_auth();
    let name = ServerName::try_from(host.to_string()).map_err(|e| unable(e.to_string()))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| unable(e.to_string()))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|e| unable(e.to_string()))?;
    }
    Ok(StreamOwned::new(connection, stream))
}
