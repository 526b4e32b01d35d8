//! The words of an HTML page: what a person would read of it, for the detail of a failing answer.

/// Elements whose content no reader sees.
const UNSEEN: [&str; 5] = ["head", "script", "style", "noscript", "template"];
/// Character references that error pages have.
const REFERENCES: [(&str, &str); 6] =
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&nbsp;", " ")];

/// Its title, and the text behind it that does not repeat the title. A page that is cut anywhere has the words so far.
pub(crate) fn words(page: &str) -> String {
    let title = element(page, "title").map(|title| folded(&without_tags(title))).unwrap_or_default();
    let text = folded(&without_tags(page));
    let rest = text.strip_prefix(title.as_str()).unwrap_or(&text).trim_start();
    match (title.is_empty(), rest.is_empty()) {
        (true, _) => text,
        (false, true) => title,
        (false, false) => format!("{title}: {rest}"),
    }
}

/// The content of the first element of that name.
fn element<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let mut at = 0;
    while let Some((start, tag, end)) = next_tag(page, at) {
        if is_called(tag, name) {
            let close = find_end(page, end, name).map_or(page.len(), |(close, _)| close);
            return Some(&page[end..close]);
        }
        at = end.max(start + 1);
    }
    None
}

/// The text between the tags, without that of elements that a browser does not show.
fn without_tags(page: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    while let Some((start, tag, end)) = next_tag(page, at) {
        out.push_str(&page[at..start]);
        out.push(' ');
        at = match UNSEEN.iter().find(|name| is_called(tag, name)) {
            Some(name) => find_end(page, end, name).map_or(page.len(), |(_, end)| end),
            None => end,
        };
    }
    out.push_str(&page[at..]);
    let plain = REFERENCES.iter().fold(out, |text, (reference, plain)| text.replace(reference, plain));
    plain.replace("&amp;", "&")
}

/// The next tag or comment from there on: where it starts, what stands in it, and where it ends. One that is never
/// closed ends with the page. A `<` before a blank or a digit is text.
fn next_tag(page: &str, from: usize) -> Option<(usize, &str, usize)> {
    let mut at = from;
    loop {
        let start = at + page[at..].find('<')?;
        let inside = &page[start + 1..];
        if let Some(comment) = inside.strip_prefix("!--") {
            let end = comment.find("-->").map_or(page.len(), |end| start + 4 + end + 3);
            return Some((start, "", end));
        }
        if inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
            let length = inside.find('>').unwrap_or(inside.len());
            return Some((start, &inside[..length], (start + 1 + length + 1).min(page.len())));
        }
        at = start + 1;
    }
}

/// Where the end tag of that element starts and ends.
fn find_end(page: &str, from: usize, name: &str) -> Option<(usize, usize)> {
    let mut at = from;
    while let Some((start, tag, end)) = next_tag(page, at) {
        if tag.strip_prefix('/').is_some_and(|tag| is_called(tag, name)) {
            return Some((start, end));
        }
        at = end.max(start + 1);
    }
    None
}

fn is_called(tag: &str, name: &str) -> bool {
    let called = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    called.eq_ignore_ascii_case(name)
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_person_reads_the_title_and_the_text() {
        for (page, read) in [
            (
                "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx/1.22.1</center></body></html>",
                "502 Bad Gateway: nginx/1.22.1",
            ),
            (
                "<!DOCTYPE HTML><html><head><meta charset=x><title>Error response</title><style>p { color: red }</style></head><body><h1>Error response</h1><p>Error code: 404</p><p>Message: File not found.</p></body></html>",
                "Error response: Error code: 404 Message: File not found.",
            ),
            (
                "<html><body>no <b>title</b>, 1 < 2 &amp; &lt;b&gt;<!-- <p>secret</p> --></body></html>",
                "no title , 1 < 2 & <b>",
            ),
            (
                "<html><head><title>OperationalError\n at /api/health/</title><script>var a = '<p>';</script></head><body><script>x</script></body>",
                "OperationalError at /api/health/",
            ),
            ("<html><title>cut</title><body>so far <a href=\"http", "cut: so far"),
            ("<html><body>text<script>never closed", "text"),
            ("<html><!-- never closed", ""),
            ("", ""),
        ] {
            assert_eq!(words(page), read, "{page}");
        }
    }

    #[test]
    fn no_page_is_a_crash() {
        let page = "<!DOCTYPE html><html><head><title>é</title><!-- x --></head><body><p a=\"<\">ü &amp; </p><script>1</script>";
        for (start, _) in page.char_indices() {
            for (end, _) in page.char_indices().filter(|(end, _)| *end >= start) {
                let _ = words(&page[start..end]);
            }
        }
    }
}
