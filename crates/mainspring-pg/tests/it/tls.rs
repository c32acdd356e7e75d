//! Who is believed to be the server, against one that speaks only the beginning of the protocol.

use std::{path::Path, sync::Arc};

use mainspring_pg::Settings;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What the client told the server before the server hung up.
#[derive(Debug, PartialEq)]
enum Told {
    Nothing,
    Encrypted,
    Plaintext,
}

struct Authority {
    folder: tempfile::TempDir,
    config: Arc<ServerConfig>,
}

/// A server with a certificate for `name`, which is its own authority.
fn authority(name: &str) -> Authority {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Authority { folder, config: Arc::new(config) }
}

impl Authority {
    fn file(&self) -> String {
        Path::new(self.folder.path()).join("ca.pem").display().to_string()
    }
}

async fn startup(mut stream: impl AsyncRead + Unpin) -> bool {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).await.is_ok() && bytes[4..] == [0, 3, 0, 0]
}

async fn serve(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Told {
    let mut request = [0; 8];
    if stream.read_exact(&mut request).await.is_err() {
        return Told::Nothing;
    }
    if request[4..] == [0, 3, 0, 0] {
        return Told::Plaintext;
    }
    let Some(tls) = tls else {
        stream.write_all(b"N").await.unwrap();
        return if startup(stream).await { Told::Plaintext } else { Told::Nothing };
    };
    stream.write_all(b"S").await.unwrap();
    match TlsAcceptor::from(tls).accept(stream).await {
        Ok(stream) => {
            if startup(stream).await {
                Told::Encrypted
            } else {
                Told::Nothing
            }
        }
        Err(_) => Told::Nothing,
    }
}

async fn told(mode: &str, root: &str, tls: Option<Arc<ServerConfig>>) -> Told {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, tls).await });
    let text = format!("host=127.0.0.1 port={port} user=u sslmode={mode} sslrootcert='{root}'");
    assert!(Settings::parse(&text).unwrap().connect().await.is_err());
    server.await.unwrap()
}

#[tokio::test]
async fn t17_each_mode_believes_whom_it_should() {
    let (right, wrong, stranger) = (authority("127.0.0.1"), authority("db.example"), authority("127.0.0.1"));
    for (mode, server, root, want) in [
        ("verify-full", &right, &right, Told::Encrypted),
        ("verify-full", &wrong, &wrong, Told::Nothing),
        ("verify-full", &stranger, &right, Told::Nothing),
        ("require", &right, &right, Told::Encrypted),
        ("require", &wrong, &wrong, Told::Nothing),
        ("verify-ca", &right, &right, Told::Encrypted),
        ("verify-ca", &wrong, &wrong, Told::Encrypted),
        ("verify-ca", &stranger, &right, Told::Nothing),
        ("prefer", &stranger, &right, Told::Encrypted),
        ("disable", &right, &right, Told::Plaintext),
    ] {
        assert_eq!(told(mode, &root.file(), Some(server.config.clone())).await, want, "{mode}");
    }
}

#[tokio::test]
async fn t17_a_server_without_tls_is_told_nothing_unless_prefer() {
    let root = authority("127.0.0.1");
    for (mode, want) in
        [("verify-full", Told::Nothing), ("verify-ca", Told::Nothing), ("require", Told::Nothing)]
    {
        assert_eq!(told(mode, &root.file(), None).await, want, "{mode}");
    }
    assert_eq!(told("prefer", &root.file(), None).await, Told::Plaintext);
}
