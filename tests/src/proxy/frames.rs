//! Finds where the replies and messages end in what a server sends, wherever that is cut into pieces, and keeps back the messages that are to
//! be lost or late.

use super::Flow;

/// What a whole frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// A message of a channel.
    Message,
    /// Anything else: mostly a reply.
    Other,
}

/// What the bytes of the moment are part of.
#[derive(Clone, Copy, Debug, Default)]
enum Part {
    /// A line that says what follows.
    #[default]
    Line,
    /// So many bytes more of a text, with its end of line.
    Text(u64),
}

/// Reads frames byte by byte.
#[derive(Debug, Default)]
struct Scanner {
    part: Part,
    /// The line or the text of the moment; of a text no more than tells a message.
    piece: Vec<u8>,
    /// How many elements the open arrays still expect.
    open: Vec<u64>,
    /// How many elements of the frame have ended.
    elements: u32,
    message: bool,
}

/// How a message begins; in a Cluster by the other word.
const MESSAGES: [&[u8]; 2] = [b"message", b"smessage"];

/// How long the longest of these is.
const LONGEST: usize = 8;

impl Scanner {
    /// Takes a byte, and returns the frame that ends with it.
    fn take(&mut self, byte: u8) -> Option<Frame> {
        match self.part {
            Part::Line if byte == b'\n' => {
                let line = std::mem::take(&mut self.piece);
                self.line(&line)
            }
            Part::Line => {
                self.piece.push(byte);
                None
            }
            Part::Text(left) => {
                if self.piece.len() <= LONGEST + 2 {
                    self.piece.push(byte);
                }
                self.part = Part::Text(left - 1);
                (left == 1).then(|| self.text_ended()).flatten()
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Option<Frame> {
        let (kind, number) = line.split_first()?;
        let number = std::str::from_utf8(number).ok().and_then(|number| number.trim_end().parse::<i64>().ok());
        let number = number.and_then(|number| u64::try_from(number).ok());
        match (kind, number) {
            (b'$' | b'=' | b'!', Some(bytes)) => {
                self.part = Part::Text(bytes.saturating_add(2));
                None
            }
            (b'*' | b'~' | b'>' | b'%', Some(elements @ 1..)) => {
                self.open.push(if *kind == b'%' { elements.saturating_mul(2) } else { elements });
                None
            }
            _ => self.element_ended(),
        }
    }

    fn text_ended(&mut self) -> Option<Frame> {
        let text = std::mem::take(&mut self.piece);
        self.part = Part::Line;
        let begun = text.strip_suffix(b"\r\n").is_some_and(|text| MESSAGES.contains(&text));
        self.message |= self.elements == 0 && self.open.len() == 1 && begun;
        self.element_ended()
    }

    fn element_ended(&mut self) -> Option<Frame> {
        self.elements += 1;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return None;
            }
            self.open.pop();
        }
        self.elements = 0;
        Some(if std::mem::take(&mut self.message) { Frame::Message } else { Frame::Other })
    }
}

/// One direction of a connection, frame by frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    scanner: Scanner,
    /// What there is of a frame that has not ended, and whether its begin was passed on already.
    open: Vec<u8>,
    passed_on: bool,
    /// Messages that wait for a reply to pass them.
    late: Vec<u8>,
    /// Messages seen since these were ordered.
    seen: u32,
    order: Flow,
}

impl Frames {
    /// Returns what is to be passed on of these bytes, and how many messages were lost or kept back.
    pub(super) fn pass(&mut self, flow: Flow, bytes: &[u8]) -> (Vec<u8>, u64) {
        if std::mem::replace(&mut self.order, flow) != flow {
            self.seen = 0;
        }
        let (mut passed, mut touched) = (Vec::with_capacity(bytes.len()), 0);
        let every = match flow {
            Flow::LoseMessages { every } | Flow::LateMessages { every } => every.max(1),
            _ => {
                passed.append(&mut self.late);
                passed.append(&mut self.open);
                passed.extend(bytes);
                for byte in bytes {
                    self.passed_on = self.scanner.take(*byte).is_none();
                }
                return (passed, 0);
            }
        };
        for byte in bytes {
            self.open.push(*byte);
            let Some(frame) = self.scanner.take(*byte) else { continue };
            let whole = !std::mem::take(&mut self.passed_on);
            self.seen += u32::from(frame == Frame::Message);
            if frame == Frame::Message && whole && self.seen.is_multiple_of(every) {
                touched += 1;
                if matches!(flow, Flow::LateMessages { .. }) {
                    self.late.append(&mut self.open);
                }
                self.open.clear();
                continue;
            }
            passed.append(&mut self.open);
            if frame == Frame::Other {
                passed.append(&mut self.late);
            }
        }
        (passed, touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSE: Flow = Flow::LoseMessages { every: 2 };
    const LATE: Flow = Flow::LateMessages { every: 2 };

    fn message(text: &str) -> String {
        format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{text}\r\n", text.len())
    }

    /// What a check answers, and what else a server says.
    const REPLY: &str = "*3\r\n$2\r\ne1\r\n:7\r\n*2\r\n$-1\r\n%1\r\n+k\r\n_\r\n";

    /// Passes a stream on in pieces of each size there is.
    #[track_caller]
    fn check(flow: Flow, stream: &str, expected: &str) {
        for size in 1..=stream.len() {
            let mut frames = Frames::default();
            let passed: Vec<u8> = stream.as_bytes().chunks(size).flat_map(|piece| frames.pass(flow, piece).0).collect();
            assert_eq!(String::from_utf8_lossy(&passed), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn each_so_manieth_message_is_lost_and_nothing_else() {
        let (one, two) = (message("$9\r\nmessage"), message("2"));
        check(LOSE, &[REPLY, &one, REPLY, &two, &one, REPLY, &two].concat(), &[REPLY, &one, REPLY, &one, REPLY].concat());
    }

    #[test]
    fn a_late_message_comes_behind_the_next_reply() {
        let (one, two) = (message("1"), message("2"));
        check(LATE, &[&one, &two, &one, REPLY].concat(), &[&one, &one, REPLY, &two].concat());
    }

    #[test]
    fn a_reply_that_names_a_message_is_none() {
        let reply = "*2\r\n:1\r\n$7\r\nmessage\r\n$7\r\nmessage\r\n";
        check(Flow::LoseMessages { every: 1 }, reply, reply);
    }

    #[test]
    fn what_is_ordered_within_a_frame_begins_behind_it_and_ends_with_all_passed_on() {
        let (mut frames, text) = (Frames::default(), message("1"));
        let (begin, end) = text.as_bytes().split_at(9);
        let all = Flow::LoseMessages { every: 1 };
        assert_eq!(frames.pass(Flow::Pass, begin), (begin.to_vec(), 0));
        assert_eq!(frames.pass(all, end), (end.to_vec(), 0));
        assert_eq!(frames.pass(all, begin), (Vec::new(), 0));
        assert_eq!(frames.pass(Flow::Pass, end), (text.as_bytes().to_vec(), 0));
        assert_eq!(frames.pass(all, text.as_bytes()), (Vec::new(), 1));
    }
}
