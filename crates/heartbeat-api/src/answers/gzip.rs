//! Bodies compressed with gzip (RFC 1952), for clients that accept it.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use zlib_rs::{DeflateConfig, ReturnCode, compress_bound, compress_slice};

use crate::answers::answer::values;

/// A smaller body gains nothing, in bytes.
pub(crate) const MIN_BYTES: usize = 1_024;
/// From 0 to 9: most of the gain for the least time.
const LEVEL: i32 = 1;
/// The largest window, with the head and the end of a gzip file around the data.
const WINDOW_BITS: i32 = 16 + 15;
/// What that head and that end take beyond those that the bound of the library counts.
const WRAP_BYTES: usize = 18;

/// Whether the client takes gzip, as RFC 9110 reads its header: `*` names every coding, and a quality of 0 refuses one.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let named: Vec<&str> = values(headers, ACCEPT_ENCODING).flat_map(|value| value.split(',')).collect();
    let quality = |wanted: &str| {
        named.iter().find_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next()?;
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let quality = quality.map_or(Some(1.0), |quality| quality.parse::<f32>().ok())?;
            name.eq_ignore_ascii_case(wanted).then_some(quality)
        })
    };
    quality("gzip").or_else(|| quality("*")).is_some_and(|quality| quality > 0.0)
}

/// The bytes as one member of a gzip file; `None` when there is no memory for the work.
pub(crate) fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut member = vec![0; compress_bound(bytes.len()) + WRAP_BYTES];
    let config = DeflateConfig { level: LEVEL, window_bits: WINDOW_BITS, ..DeflateConfig::default() };
    let (written, code) = compress_slice(&mut member, bytes, config);
    let length = written.len();
    member.truncate(length);
    member.shrink_to_fit();
    (code == ReturnCode::Ok).then_some(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_gzip_when_it_says_so() {
        for (said, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("deflate, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("gzip;q=high", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, said.parse().unwrap())]);
            assert_eq!(is_accepted(&headers), takes, "{said}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let text = "up ".repeat(10_000);
        let member = compressed(text.as_bytes()).unwrap();
        assert!(member.len() < text.len() / 20 && member.starts_with(&[0x1f, 0x8b]), "{}", member.len());
        let inside = &member[10..member.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(inside).unwrap(), text.as_bytes());
        let checksum = crc32fast::hash(text.as_bytes()).to_le_bytes();
        assert_eq!(member[member.len() - 8..member.len() - 4], checksum);
        assert_eq!(member[member.len() - 4..], 30_000_u32.to_le_bytes());
    }

    #[test]
    fn what_cannot_be_compressed_has_room() {
        let mut random = Vec::new();
        let mut state = 7_u32;
        random.resize_with(300_000, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        for length in [0, 1, 1_024, random.len()] {
            let member = compressed(&random[..length]).unwrap();
            let inside = &member[10..member.len() - 8];
            assert_eq!(miniz_oxide::inflate::decompress_to_vec(inside).unwrap(), random[..length]);
        }
    }
}
