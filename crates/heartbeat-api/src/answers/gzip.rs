//! Bodies compressed with gzip (RFC 1952), for clients that accept it.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use miniz_oxide::deflate::compress_to_vec;

use crate::answers::answer::values;

/// A smaller body gains nothing, in bytes.
pub(crate) const MIN_BYTES: usize = 1_024;
/// From 0 to 10: most of the gain for the least time.
const LEVEL: u8 = 1;
/// Magic number, deflate, no flags, no time, no extra flags, an unknown file system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

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

/// The bytes as one member of a gzip file.
pub(crate) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut member = HEAD.to_vec();
    member.extend(compress_to_vec(bytes, LEVEL));
    member.extend(crc32fast::hash(bytes).to_le_bytes());
    // The length modulo 2^32, as the format has it.
    member.extend(u32::try_from(bytes.len() as u64 % (1 << 32)).unwrap_or(0).to_le_bytes());
    member
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
        let member = compressed(text.as_bytes());
        assert!(member.len() < text.len() / 20 && member.starts_with(&[0x1f, 0x8b]), "{}", member.len());
        let inside = &member[HEAD.len()..member.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(inside).unwrap(), text.as_bytes());
        assert_eq!(member[member.len() - 4..], 30_000_u32.to_le_bytes());
    }
}
