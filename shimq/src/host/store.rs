//! What outlives a restart: the key, and the parameters of each address.
//!
//! Decides where files lie and how they are written: whole or not at all, and never over a key.
//!
//! ```text
//! STATE_DIR/                      mode 0700
//!   key.pem                       PKCS#8, mode 0600
//!   NAME.pem                      more keys, for single interfaces or addresses as configured
//!   ADDRESS.cga                   parameters of an address as configured (RFC 3972 section 3 octets)
//!   formed/INTERFACE/ADDRESS.cga  parameters of an address that shimq formed, for `form`
//!   autoconf/INTERFACE            the kernel's setting while shimq forms addresses in its place
//! ```
//!
//! The two kinds are kept apart because `release` takes back the addresses that shimq formed, and
//! only those.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use shim6_cga::{Kind, Pds, SigningKey, verify_cga, verify_hba};
use zeroize::Zeroizing;

use super::HostError;

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The key of this host.
pub(super) const KEY_FILE: &str = "key.pem";

/// Ending of the name of a parameters file.
const PARAMETERS: &str = "cga";

/// An address and the parameters that it belongs to.
pub(super) type Parameters = (Ipv6Addr, Pds);

/// The state directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// Uses `root` as it is; nothing is touched until something is read or written.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Creates the directory if need be, and closes it to other users.
    pub(super) fn prepare(&self) -> Result<(), HostError> {
        create_directory(&self.root)
            .and_then(|()| fs::set_permissions(&self.root, Permissions::from_mode(DIRECTORY_MODE)))
            .map_err(HostError::store(&self.root))
    }

    /// The key in `file` of the directory, or elsewhere if that is absolute; `None` if it is not there.
    pub(super) fn key(&self, file: &Path) -> Result<Option<SigningKey>, HostError> {
        read_key(&self.root.join(file))
    }

    /// Every key: that of this host first, if there is one.
    pub(super) fn keys(&self) -> Result<Vec<SigningKey>, HostError> {
        let first = self.root.join(KEY_FILE);
        let all = list(&self.root).map_err(HostError::store(&self.root))?;
        let others = all.into_iter().filter(|path| {
            *path != first && path.extension().is_some_and(|ending| ending == "pem")
        });
        let mut keys: Vec<_> = read_key(&first)?.into_iter().collect();
        for path in others {
            keys.extend(read_key(&path)?);
        }
        Ok(keys)
    }

    /// Keeps a key in `file` of the directory.
    ///
    /// # Errors
    ///
    /// [`HostError::Store`], also if there is a key already: it is not overwritten.
    pub(super) fn save_key(&self, file: &Path, key: &SigningKey) -> Result<(), HostError> {
        let path = self.root.join(file);
        write(&path, key.to_pem()?.as_bytes(), RenameFlags::NOREPLACE)
            .map_err(HostError::store(&path))
    }

    /// Addresses formed for `interface`, as far as their files are sound.
    pub(super) fn formed(&self, interface: &str) -> Result<Vec<Parameters>, HostError> {
        parameters_in(&self.formed_directory(interface))
    }

    /// Names of the interfaces that addresses were formed for.
    pub(super) fn formed_interfaces(&self) -> Result<Vec<String>, HostError> {
        let directory = self.root.join("formed");
        let names = list(&directory).map_err(HostError::store(&directory))?;
        Ok(names
            .iter()
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    /// Keeps the parameters of an address that was formed for `interface`.
    pub(super) fn save_formed(
        &self,
        interface: &str,
        address: Ipv6Addr,
        pds: &Pds,
    ) -> Result<(), HostError> {
        let directory = self.formed_directory(interface);
        let path = parameters_path(&directory, address);
        create_directory(&directory)
            .and_then(|()| write(&path, pds.octets(), RenameFlags::empty()))
            .map_err(HostError::store(&path))
    }

    /// Notes that an address that was formed is there, or was until now.
    pub(super) fn touch_formed(&self, interface: &str, address: Ipv6Addr) -> Result<(), HostError> {
        let path = parameters_path(&self.formed_directory(interface), address);
        File::open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(HostError::store(&path))
    }

    /// When an address that was formed was there last, as far as that was noted.
    pub(super) fn formed_time(&self, interface: &str, address: Ipv6Addr) -> Option<SystemTime> {
        let path = parameters_path(&self.formed_directory(interface), address);
        fs::metadata(path).and_then(|file| file.modified()).ok()
    }

    /// Forgets an address: it turned out to be somebody else's, or was not there for long.
    pub(super) fn remove_formed(
        &self,
        interface: &str,
        address: Ipv6Addr,
    ) -> Result<(), HostError> {
        let path = parameters_path(&self.formed_directory(interface), address);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map_err(HostError::store(&path)),
        }
    }

    /// Addresses that the administrator configured, as far as their files are sound.
    pub(super) fn configured(&self) -> Result<Vec<Parameters>, HostError> {
        parameters_in(&self.root)
    }

    /// Keeps what the kernel's setting was on `interface`, for as long as it is ours.
    pub(super) fn save_autoconf(&self, interface: &str, setting: &str) -> Result<(), HostError> {
        let directory = self.autoconf_directory();
        let path = directory.join(interface);
        create_directory(&directory)
            .and_then(|()| write(&path, setting.as_bytes(), RenameFlags::empty()))
            .map_err(HostError::store(&path))
    }

    /// The settings that were kept, with their interfaces.
    pub(super) fn autoconf(&self) -> Result<Vec<(String, String)>, HostError> {
        let directory = self.autoconf_directory();
        let mut settings = Vec::new();
        for path in list(&directory).map_err(HostError::store(&directory))? {
            let setting = fs::read_to_string(&path).map_err(HostError::store(&path))?;
            if let Some(interface) = path.file_name().and_then(|name| name.to_str()) {
                settings.push((interface.to_owned(), setting));
            }
        }
        Ok(settings)
    }

    /// Forgets a setting that was restored.
    pub(super) fn remove_autoconf(&self, interface: &str) -> Result<(), HostError> {
        let path = self.autoconf_directory().join(interface);
        fs::remove_file(&path).map_err(HostError::store(&path))
    }

    fn autoconf_directory(&self) -> PathBuf {
        self.root.join("autoconf")
    }

    fn formed_directory(&self, interface: &str) -> PathBuf {
        self.root.join("formed").join(interface)
    }
}

/// The key in a file; `None` if there is no such file.
fn read_key(path: &Path) -> Result<Option<SigningKey>, HostError> {
    let unreadable = |reason: String| HostError::KeyUnreadable {
        path: path.to_owned(),
        reason,
    };
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(pem) => SigningKey::from_pem(&pem)
            .map(Some)
            .map_err(|error| unreadable(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn parameters_path(directory: &Path, address: Ipv6Addr) -> PathBuf {
    directory.join(format!("{address}.{PARAMETERS}"))
}

/// The parameters files in a directory, without those that do not belong to their address.
fn parameters_in(directory: &Path) -> Result<Vec<Parameters>, HostError> {
    let mut found = Vec::new();
    for path in list(directory).map_err(HostError::store(directory))? {
        if path.extension().is_some_and(|ending| ending == PARAMETERS) {
            let octets = fs::read(&path).map_err(HostError::store(&path))?;
            match check(&path, &octets) {
                Ok(parameters) => found.push(parameters),
                Err(reason) => tracing::warn!(
                    file = %path.display(),
                    "parameters file ignored: {reason}; remove it or restore it"
                ),
            }
        }
    }
    Ok(found)
}

/// Whether the octets are parameters of the address that the file is named after.
fn check(path: &Path, octets: &[u8]) -> Result<Parameters, String> {
    let address = path
        .file_stem()
        .and_then(|name| name.to_str()?.parse().ok())
        .ok_or("its name is not an IPv6 address")?;
    let pds = Pds::parse(octets).map_err(|error| error.to_string())?;
    match pds.kind() {
        Kind::Cga => verify_cga(address, &pds),
        Kind::Hba | Kind::CgaCompatibleHba => verify_hba(address, &pds),
    }
    .map_err(|error| error.to_string())?;
    Ok((address, pds))
}

/// Paths in a directory, sorted; none if it does not exist.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}

/// Writes a file that appears with all its octets or not at all, also over a power failure.
fn write(path: &Path, octets: &[u8], rename: RenameFlags) -> io::Result<()> {
    // No address and no ending of a parameters file: never taken for one.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&temporary)?;
    let renamed = file
        .write_all(octets)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat_with(CWD, &temporary, CWD, path, rename)?));
    if renamed.is_err() {
        fs::remove_file(&temporary)?;
    }
    renamed?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use shim6_cga::generate_cga;

    use super::*;

    const PREFIX: [u8; 8] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1];

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("state"));
        store.prepare().unwrap();
        (directory, store)
    }

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(1024, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_comes_back_as_it_was_saved_and_only_its_owner_can_read_it() {
        let (_directory, store) = store();
        assert!(store.key(KEY_FILE.as_ref()).unwrap().is_none());
        let key = key(1);
        store.save_key(KEY_FILE.as_ref(), &key).unwrap();
        assert_eq!(
            store.key(KEY_FILE.as_ref()).unwrap().unwrap().public_key(),
            key.public_key()
        );
        assert_eq!(
            (mode(&store.root), mode(&store.root.join(KEY_FILE))),
            (0o700, 0o600)
        );
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_directory, store) = store();
        store.save_key(KEY_FILE.as_ref(), &key(1)).unwrap();
        let before = fs::read(store.root.join(KEY_FILE)).unwrap();
        assert!(store.save_key(KEY_FILE.as_ref(), &key(2)).is_err());
        assert_eq!(fs::read(store.root.join(KEY_FILE)).unwrap(), before);
        assert_eq!(
            list(&store.root).unwrap().len(),
            1,
            "a temporary file stayed behind"
        );
    }

    #[test]
    fn a_corrupt_key_is_an_error_that_names_the_file_and_leaves_it_alone() {
        let (_directory, store) = store();
        fs::write(store.root.join(KEY_FILE), "no key").unwrap();
        let error = store.key(KEY_FILE.as_ref()).unwrap_err().to_string();
        assert!(
            error.contains("key.pem") && error.contains("move it away"),
            "{error}"
        );
        assert_eq!(fs::read(store.root.join(KEY_FILE)).unwrap(), b"no key");
    }

    #[test]
    fn parameters_come_back_for_the_interface_they_were_formed_for() {
        let (_directory, store) = store();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let (address, pds) = generate_cga(&key(3), PREFIX, 0, &mut rng).unwrap();
        store.save_formed("eth0", address, &pds).unwrap();
        assert_eq!(store.formed("eth0").unwrap(), [(address, pds)]);
        assert_eq!(store.formed("eth1").unwrap(), []);
        assert_eq!(store.configured().unwrap(), []);
        assert_eq!(store.formed_interfaces().unwrap(), ["eth0"]);
        store.remove_formed("eth0", address).unwrap();
        assert_eq!(store.formed("eth0").unwrap(), []);
    }

    #[test]
    fn parameters_of_another_address_are_ignored() {
        let (_directory, store) = store();
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let (address, pds) = generate_cga(&key(4), PREFIX, 0, &mut rng).unwrap();
        let other = Ipv6Addr::from(u128::from(address) ^ 1);
        fs::write(parameters_path(&store.root, address), pds.octets()).unwrap();
        fs::write(parameters_path(&store.root, other), pds.octets()).unwrap();
        fs::write(store.root.join("notes.cga"), pds.octets()).unwrap();
        assert_eq!(store.configured().unwrap(), [(address, pds)]);
    }
}
