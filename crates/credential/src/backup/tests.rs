//! Whatever is done to a backup's file is found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use domain::audit::Head;
use domain::backup::BackupId;
use domain::id::{ClusterId, NodeId};
use domain::state::Digests;
use domain::{LogId, UnixMs};

use super::*;
use crate::{SeededEntropy, key_file};

fn keyring(seed: u64) -> Keyring {
    let text = key_file::found(UnixMs(0), &SeededEntropy::new(seed));
    Keyring::parse(&text).ok().unwrap()
}

fn of(index: u64) -> Backup {
    Backup {
        id: BackupId([9; 16]),
        cluster: ClusterId([7; 16]),
        title: "test".to_owned(),
        epoch: 1,
        log: LogId {
            term: 1,
            node: 1,
            index,
        },
        clock: UnixMs(5),
        digests: Digests {
            account: Digest::ZERO,
            full: Digest::ZERO,
        },
        audit: Head::default(),
        accounts: 3,
        taken_at: UnixMs(6),
        node: NodeId(1),
        by: "alice".parse().unwrap(),
        keys: vec![1, 2],
    }
}

const PIECES: [&[u8]; 4] = [b"one", b"", b"three is longer", b"four"];

/// The file in its parts: the header, each piece, the end, the checksum.
fn parts(keyring: &Keyring, index: u64, salt: u64) -> Vec<Vec<u8>> {
    let (mut sealer, header) =
        Sealer::begin(keyring, of(index), &SeededEntropy::new(salt)).unwrap();
    let mut parts = vec![header];
    parts.extend(PIECES.map(|piece| sealer.piece(piece).unwrap()));
    let mut end = sealer.end().unwrap();
    let sum = end.split_off(end.len() - 33);
    parts.extend([end, sum]);
    parts
}

/// With a checksum that fits: as somebody makes it who means harm.
fn summed(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = parts.concat();
    all.push(SUM);
    let mut sum = Hasher::default();
    sum.add(&all);
    all.extend_from_slice(&sum.digest().0);
    all
}

fn open(keyring: &Keyring, file: &[u8]) -> Result<Vec<u8>, io::Error> {
    let mut content = Vec::new();
    Opener::open(keyring, file)?.read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn a_backup_opens_with_its_key_and_is_checked_without() {
    let file = parts(&keyring(1), 4, 1).concat();
    assert_eq!(open(&keyring(1), &file).unwrap(), PIECES.concat());
    assert_eq!(check(file.as_slice()).unwrap(), of(4));
    assert_eq!(show(file.as_slice()).unwrap(), of(4));
    assert_eq!(
        Opener::open(&keyring(1), file.as_slice()).unwrap().backup(),
        &of(4)
    );
}

#[test]
fn two_files_of_one_state_have_nothing_sealed_in_common() {
    let [one, other] = [1, 2].map(|salt| parts(&keyring(1), 4, salt));
    for (one, other) in one.iter().zip(&other) {
        assert_ne!(one, other);
    }
}

#[test]
fn any_altered_byte_is_found_without_a_key_and_with_it() {
    let keyring = keyring(1);
    let file = parts(&keyring, 4, 1).concat();
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 1;
        assert!(check(altered.as_slice()).is_err(), "byte {at}");
        assert!(open(&keyring, &altered).is_err(), "byte {at}");
    }
}

#[test]
fn a_file_that_ends_early_or_late_is_found() {
    let keyring = keyring(1);
    let file = parts(&keyring, 4, 1).concat();
    for length in 0..file.len() {
        assert!(check(&file[..length]).is_err(), "{length} bytes");
        assert!(open(&keyring, &file[..length]).is_err(), "{length} bytes");
    }
    let longer = [file, vec![0]].concat();
    assert!(check(longer.as_slice()).is_err());
    assert!(open(&keyring, &longer).is_err());
}

#[test]
fn altered_moved_left_out_doubled_or_foreign_pieces_are_found_though_the_sum_fits() {
    let ours = keyring(1);
    let mut whole = parts(&ours, 4, 1);
    whole.pop();
    assert!(open(&ours, &summed(&whole)).is_ok());
    let another = parts(&ours, 4, 2);
    for at in 0..whole.len() {
        let mut parts = whole.clone();
        let last = parts[at].len() - 1;
        parts[at][last] ^= 1;
        assert!(open(&ours, &summed(&parts)).is_err(), "{at} altered");
        let mut parts = whole.clone();
        parts.remove(at);
        assert!(open(&ours, &summed(&parts)).is_err(), "{at} left out");
        let mut parts = whole.clone();
        parts.insert(at, whole[at].clone());
        assert!(open(&ours, &summed(&parts)).is_err(), "{at} twice");
        let mut parts = whole.clone();
        parts[at].clone_from(&another[at]);
        assert!(open(&ours, &summed(&parts)).is_err(), "{at} from another");
        if at > 0 {
            let mut parts = whole.clone();
            parts.swap(at - 1, at);
            assert!(open(&ours, &summed(&parts)).is_err(), "{at} moved");
        }
    }
    // Cut off after any piece, and an end put there that was sealed elsewhere.
    for length in 1..whole.len() - 1 {
        let mut parts = whole[..length].to_vec();
        assert!(open(&ours, &summed(&parts)).is_err(), "{length} pieces");
        parts.push(whole[whole.len() - 1].clone());
        assert!(open(&ours, &summed(&parts)).is_err(), "{length} pieces");
    }
}

#[test]
fn another_header_over_the_same_pieces_is_found() {
    let ours = keyring(1);
    let mut whole = parts(&ours, 4, 1);
    whole.pop();
    // The same salt, and so the same key.
    whole[0].clone_from(&parts(&ours, 5, 1)[0]);
    let file = summed(&whole);
    assert_eq!(check(file.as_slice()).unwrap(), of(5));
    assert!(open(&ours, &file).is_err());
}

#[test]
fn another_key_file_does_not_open_it() {
    let file = parts(&keyring(1), 4, 1).concat();
    assert!(open(&keyring(2), &file).is_err());
    let mut lacking = of(4);
    lacking.keys = vec![7];
    let refused = Sealer::begin(&keyring(1), lacking, &SeededEntropy::new(1));
    assert!(matches!(refused, Err(Error::Key { key: 7 })));
    // A key that does not seal seals no backup either.
    let mut digest = of(4);
    digest.keys = vec![2];
    let refused = Sealer::begin(&keyring(1), digest, &SeededEntropy::new(1));
    assert!(matches!(refused, Err(Error::Key { key: 2 })));
}

#[test]
fn what_is_no_backup_is_told_so() {
    for file in [&b""[..], b"tidemark audit 1\n", b"tidemark backup 2\n...."] {
        assert!(matches!(check(file), Err(Error::NotABackup)));
    }
}
