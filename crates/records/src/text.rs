//! Text files: which encoding, decoded as a stream. Bytes that are no character become U+FFFD, which refuses the cell that holds it.

use std::io::{Read, Seek};

use encoding_rs::{CoderResult, Decoder, DecoderResult, Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

use crate::format::seems;
use crate::{Code, Unreadable};

const CHUNK: usize = 32 << 10;

pub(crate) fn cannot_be_read() -> Unreadable {
    Unreadable::new(
        Code::Unreadable,
        "读不了文件，请重试 the file cannot be read; try again",
    )
}

/// How a whole file fares under one encoding.
#[derive(Default)]
struct Tally {
    wrong: u64,
    beyond_ascii: u64,
    controls: u64,
}

fn tally<R: Read + Seek>(source: &mut R, encoding: &'static Encoding) -> Result<Tally, Unreadable> {
    source.rewind().map_err(|_| cannot_be_read())?;
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let mut input = vec![0; CHUNK];
    let mut output = String::with_capacity(CHUNK * 4);
    let mut tally = Tally::default();
    loop {
        let read = source.read(&mut input).map_err(|_| cannot_be_read())?;
        let mut rest = input.get(..read).unwrap_or_default();
        loop {
            output.clear();
            let (result, used) = decoder.decode_to_string_without_replacement(rest, &mut output, read == 0);
            rest = rest.get(used..).unwrap_or_default();
            for character in output.chars() {
                tally.beyond_ascii += u64::from(!character.is_ascii());
                tally.controls +=
                    u64::from(character.is_control() && !matches!(character, '\t' | '\r' | '\n' | '\x0c' | '\x1a'));
            }
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::Malformed(..) => tally.wrong += 1,
                DecoderResult::OutputFull => {}
            }
        }
        if read == 0 {
            return Ok(tally);
        }
    }
}

/// The encoding of a text: by its mark, else the one under which the fewest bytes are no character.
pub(crate) fn encoding<R: Read + Seek>(head: &[u8], source: &mut R) -> Result<&'static Encoding, Unreadable> {
    let (encoding, tally) = match head {
        [0xff, 0xfe, ..] => (UTF_16LE, tally(source, UTF_16LE)?),
        [0xfe, 0xff, ..] => (UTF_16BE, tally(source, UTF_16BE)?),
        [0xef, 0xbb, 0xbf, ..] => (UTF_8, tally(source, UTF_8)?),
        _ => {
            let as_utf8 = tally(source, UTF_8)?;
            // Text in GB 18030 hardly ever makes characters of UTF-8; a few bad bytes do not make UTF-8 GB 18030.
            if as_utf8.wrong == 0 || as_utf8.beyond_ascii > as_utf8.wrong.saturating_mul(10) {
                (UTF_8, as_utf8)
            } else {
                (GB18030, tally(source, GB18030)?)
            }
        }
    };
    if tally.wrong > 20 + tally.beyond_ascii / 20 || tally.controls > 20 {
        return Err(seems(
            "二进制文件或编码损坏的文本",
            "a binary file, or text whose encoding is damaged",
        ));
    }
    Ok(encoding)
}

/// A text as a stream of pieces.
pub(crate) struct Pieces<'a, R> {
    source: &'a mut R,
    decoder: Decoder,
    input: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<'a, R: Read> Pieces<'a, R> {
    pub(crate) fn from_start(source: &'a mut R, encoding: &'static Encoding) -> Result<Self, Unreadable>
    where
        R: Seek,
    {
        source.rewind().map_err(|_| cannot_be_read())?;
        Ok(Self {
            source,
            decoder: encoding.new_decoder_with_bom_removal(),
            input: vec![0; CHUNK],
            start: 0,
            end: 0,
            ended: false,
        })
    }

    /// The next piece into `output`; false at the end.
    pub(crate) fn next(&mut self, output: &mut String) -> Result<bool, Unreadable> {
        output.clear();
        output.reserve(CHUNK * 4);
        while !self.ended && output.is_empty() {
            if self.start == self.end {
                self.start = 0;
                self.end = self.source.read(&mut self.input).map_err(|_| cannot_be_read())?;
            }
            let rest = self.input.get(self.start..self.end).unwrap_or_default();
            let last = rest.is_empty();
            let (result, used, _) = self.decoder.decode_to_string(rest, output, last);
            self.start += used;
            self.ended = last && result == CoderResult::InputEmpty;
        }
        Ok(!output.is_empty())
    }
}
