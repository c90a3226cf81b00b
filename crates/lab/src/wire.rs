//! HTTP/1.1 as bytes: requests are sent as they are given, answers are kept whole. For clients that must see every
//! byte (leak tests, the demo) or waste none (the load generator). It understands what IMDS sends: `Content-Length`.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More than any answer of IMDS or STS, or a scrape of an agent with hundreds of roles; beyond it an answer is an error.
const MAX_ANSWER: usize = 8 << 20;

/// An answer, with every byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers as they came, with the empty line at their end.
    pub head: Bytes,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, as far as it is text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Whether `text` is anywhere in the answer: status line, headers, body.
    pub fn contains(&self, text: &str) -> bool {
        let found = |bytes: &[u8]| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        found(&self.head) || found(&self.body)
    }
}

/// A request of `method` for `target`, with `headers` and without a body, as bytes.
pub fn request(method: &str, target: &str, host: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Sends `request` and reads one answer. `buffer` keeps what has come of the next one, so a connection can be used on.
pub async fn exchange<S>(
    stream: &mut S,
    request: &[u8],
    buffer: &mut BytesMut,
) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    read_answer(stream, buffer, request.starts_with(b"HEAD ")).await
}

/// Sends `request` on a connection of its own and reads the answer.
pub async fn once<S>(mut stream: S, request: &[u8]) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    exchange(&mut stream, request, &mut BytesMut::new()).await
}

async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    headless: bool,
) -> io::Result<Answer> {
    let head_length = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        fill(stream, buffer).await?;
    };
    let head = buffer.split_to(head_length).freeze();
    let status = status(&head).ok_or_else(|| invalid("no HTTP/1.1 status line"))?;
    let length = match header(&head, "content-length") {
        _ if headless || status == 204 || status == 304 => 0,
        Some(length) => length
            .parse()
            .map_err(|_| invalid("Content-Length is no number"))?,
        None => return Err(invalid("no Content-Length")),
    };
    if length > MAX_ANSWER {
        return Err(invalid("the answer is too long"));
    }
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    let body = buffer.split_to(length).freeze();
    Ok(Answer { status, head, body })
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<()> {
    if buffer.len() > MAX_ANSWER {
        return Err(invalid("the answer is too long"));
    }
    buffer.reserve(8 << 10);
    match stream.read_buf(buffer).await? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed before the answer was whole",
        )),
        _ => Ok(()),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let mut pairs = lines.filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'));
    pairs
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], buffer: &mut BytesMut) -> io::Result<Answer> {
        read_answer(&mut io::Cursor::new(bytes.to_vec()), buffer, false).await
    }

    #[tokio::test]
    async fn two_answers_that_come_at_once_are_told_apart() {
        let mut buffer = BytesMut::new();
        let both = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\nhiHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let first = read(both, &mut buffer).await.unwrap();
        assert_eq!((first.status, first.text().as_str()), (200, "hi"));
        let second = read(b"", &mut buffer).await.unwrap();
        assert_eq!(
            (second.status, second.header("Content-Length")),
            (404, Some("0"))
        );
        assert!(buffer.is_empty());
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_an_error() {
        let cut = read(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            &mut BytesMut::new(),
        )
        .await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_text_is_found_in_head_and_body() {
        let answer = Answer {
            status: 200,
            head: Bytes::from("x-secret: a\r\n"),
            body: Bytes::from("b"),
        };
        assert!(answer.contains("secret: a") && answer.contains("b") && !answer.contains("d"));
    }
}
