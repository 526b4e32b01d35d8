//! A `.tar.gz` in memory: small text files in one directory.

use std::fmt::Write;

use miniz_oxide::deflate::compress_to_vec;

/// Level of the compression, from 0 to 10.
const LEVEL: u8 = 6;
/// A tar file consists of blocks of this many bytes.
const BLOCK_BYTES: usize = 512;
/// Longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 100;

/// Files that become one archive.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    tar: Vec<u8>,
}

impl Archive {
    /// Adds a file; `at` is its time in seconds since 1970. A path that is too long is cut.
    pub(crate) fn add(&mut self, path: &str, at: i64, content: &[u8]) {
        let mut header = [0_u8; BLOCK_BYTES];
        let path = path.as_bytes();
        let path = &path[..path.len().min(MAX_PATH_BYTES)];
        header[..path.len()].copy_from_slice(path);
        let mut field =
            |from: usize, text: &str| header[from..from + text.len()].copy_from_slice(text.as_bytes());
        field(100, "0000600\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{:011o}\0", content.len()));
        field(136, &format!("{:011o}\0", at.max(0)));
        // The checksum counts its own place as blanks.
        field(148, "        ");
        field(156, "0");
        field(257, "ustar\x0000");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        let mut text = String::new();
        let _ = write!(text, "{sum:06o}\0 ");
        header[148..148 + text.len()].copy_from_slice(text.as_bytes());
        self.tar.extend_from_slice(&header);
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    /// The whole archive, compressed.
    #[expect(clippy::cast_possible_truncation, reason = "gzip has the length modulo 2^32")]
    pub(crate) fn compressed(mut self) -> Vec<u8> {
        self.tar.resize(self.tar.len() + 2 * BLOCK_BYTES, 0);
        // No name, no time, an unknown system: RFC 1952.
        let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        out.extend(compress_to_vec(&self.tar, LEVEL));
        out.extend(crc32fast::hash(&self.tar).to_le_bytes());
        out.extend((self.tar.len() as u32).to_le_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Stdio;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only another program can say that the archive is one")]
    fn tar_reads_what_was_added() {
        let mut archive = Archive::default();
        archive.add("incident/a.txt", 1_795_473_601, b"first\n");
        archive.add("incident/b.txt", 1_795_473_601, &[b'x'; 700]);
        let bytes = archive.compressed();
        let tar = |arguments: &[&str]| {
            let mut child = std::process::Command::new("tar")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&bytes).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(tar(&["tzf", "-"]), "incident/a.txt\nincident/b.txt\n");
        assert_eq!(tar(&["xzOf", "-", "incident/a.txt"]), "first\n");
        assert_eq!(tar(&["xzOf", "-", "incident/b.txt"]).len(), 700);
    }
}
