//! Signalling in both roles, in every order of events, and with messages that are none.

use super::*;
use crate::proto::{
    credentials::Ice,
    fingerprint::Fingerprint,
    signal_message::{Decoder, MESSAGE_MAX_BYTES},
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn description(port: u16) -> String {
    let ice = Ice { ufrag: "abcdef".into(), pwd: "abcdefabcdefabcdefabcdef".into() };
    sdp::direct_answer(([1, 2, 3, 4], port).into(), Fingerprint([7; 32]), &ice)
}

fn candidate(text: &str) -> String {
    serde_json::json!({ "candidate": text, "sdpMid": "0", "sdpMLineIndex": 0 }).to_string()
}

const HOST: &str = "candidate:1 1 udp 2122260223 192.168.1.2 50000 typ host";

fn outputs(signalling: &mut Signalling) -> Vec<Output> {
    std::iter::from_fn(|| signalling.next_output()).collect()
}

#[test]
fn both_roles_meet() {
    let (mut a, mut b) = (Signalling::new(Role::Initiator, 0), Signalling::new(Role::Responder, 0));
    assert_eq!(outputs(&mut a), [Output::CreateOffer]);
    a.handle(Input::Description(description(1))).unwrap();
    let offer = Message::Offer(description(1));
    assert_eq!(outputs(&mut a), [Output::Send(offer.clone()), Output::SetLocal(description(1))]);
    b.handle(Input::Message(offer)).unwrap();
    assert_eq!(outputs(&mut b), [Output::CreateAnswer { offer: description(1) }]);
    b.handle(Input::Description(description(2))).unwrap();
    let answer = Message::Answer(description(2));
    assert_eq!(outputs(&mut b), [Output::Send(answer.clone()), Output::SetLocal(description(2))]);
    a.handle(Input::LocalCandidate(candidate(HOST))).unwrap();
    assert_eq!(outputs(&mut a), [Output::Send(Message::Candidate(candidate(HOST)))]);
    a.handle(Input::Message(answer)).unwrap();
    assert_eq!(outputs(&mut a), [Output::SetRemote(description(2))]);
    b.handle(Input::Message(Message::Candidate(candidate(HOST)))).unwrap();
    let target = Target::Socket("192.168.1.2:50000".parse().unwrap());
    assert_eq!(outputs(&mut b), [Output::AddCandidate { json: candidate(HOST), target }]);
    a.handle(Input::Connected).unwrap();
    assert_eq!(outputs(&mut a), [Output::CloseInit]);
    b.handle(Input::StreamEnded).unwrap();
    b.handle(Input::Connected).unwrap();
    assert_eq!(outputs(&mut b), [Output::Done], "a stream that ended before it was connected is no failure");
    a.handle(Input::InitClosed).unwrap();
    assert_eq!(outputs(&mut a), [Output::Done]);
    assert_eq!(a.handle_timeout(u64::MAX), Ok(()));
}

#[test]
fn every_wrong_order_is_an_error_of_its_own() {
    let describing = || {
        let mut b = Signalling::new(Role::Responder, 0);
        b.handle(Input::Message(Message::Offer(description(1)))).unwrap();
        b
    };
    let awaiting_answer = || {
        let mut a = Signalling::new(Role::Initiator, 0);
        a.handle(Input::Description(description(1))).unwrap();
        a
    };
    let offer = || Message::Offer(description(1));
    let answer = || Message::Answer(description(1));
    let trickled = || Message::Candidate(candidate(HOST));
    for (mut signalling, message) in [
        (Signalling::new(Role::Responder, 0), answer()),
        (Signalling::new(Role::Responder, 0), trickled()),
        (describing(), offer()),
        (describing(), answer()),
        (awaiting_answer(), offer()),
        (awaiting_answer(), trickled()),
        (Signalling::new(Role::Initiator, 0), offer()),
    ] {
        let error = signalling.handle(Input::Message(message)).unwrap_err();
        assert!(matches!(error, SignalError::Order { .. }), "{error}");
    }
    assert_eq!(awaiting_answer().handle(Input::StreamEnded), Err(SignalError::Ended));
    assert_eq!(awaiting_answer().handle(Input::Failed), Err(SignalError::Failed));
    let mut late = awaiting_answer();
    assert_eq!(late.handle_timeout(late.deadline_ms() - 1), Ok(()));
    assert_eq!(late.handle_timeout(late.deadline_ms()), Err(SignalError::TimedOut));
    // Nor does it say anything about paths where nothing was named to try.
    let sdp = description(2);
    let bare = sdp.lines().filter(|line| !line.starts_with("a=candidate")).flat_map(|line| [line, "\r\n"]);
    let mut nowhere = awaiting_answer();
    nowhere.handle(Input::Message(Message::Answer(bare.collect()))).unwrap();
    assert_eq!(nowhere.handle(Input::Failed), Err(SignalError::Failed));
    assert_eq!(nowhere.handle_timeout(nowhere.deadline_ms()), Err(SignalError::TimedOut));
    nowhere.handle(Input::Message(trickled())).unwrap();
    assert_eq!(nowhere.handle(Input::Failed), Err(SignalError::NoPath));
    // Only with both descriptions does it say something about paths, to either end.
    let mut both = [awaiting_answer(), describing()];
    both[0].handle(Input::Message(answer())).unwrap();
    both[1].handle(Input::Description(description(2))).unwrap();
    for mut trading in both {
        assert_eq!(trading.handle_timeout(trading.deadline_ms()), Err(SignalError::NoPath));
        assert_eq!(trading.handle(Input::Failed), Err(SignalError::NoPath));
    }
}

#[test]
fn case_48_candidates_are_counted_and_those_that_point_nowhere_are_left_out() {
    let mut b = Signalling::new(Role::Responder, 0);
    b.handle(Input::Message(Message::Offer(description(1)))).unwrap();
    outputs(&mut b);
    for nowhere in ["candidate:1 1 udp 1 224.0.0.1 9 typ host", "candidate:1 1 udp 1 1.2.3.4 0 typ host"] {
        b.handle(Input::Message(Message::Candidate(candidate(nowhere)))).unwrap();
    }
    b.handle(Input::Message(Message::Candidate(candidate("")))).unwrap();
    b.handle(Input::Message(Message::Candidate("null".into()))).unwrap();
    assert_eq!(outputs(&mut b), []);
    for malformed in ["", "{}", "[", "7", "{\"candidate\":7}", &candidate(&"x".repeat(2_000))] {
        let mut b = Signalling::new(Role::Responder, 0);
        b.handle(Input::Message(Message::Offer(description(1)))).unwrap();
        let error = b.handle(Input::Message(Message::Candidate(malformed.to_owned())));
        assert_eq!(error, Err(SignalError::Candidate), "{malformed}");
    }
    let error = (0..10_000).find_map(|_| b.handle(Input::Message(Message::Candidate(candidate(HOST)))).err());
    assert_eq!(error, Some(SignalError::Sdp(SdpError::TooManyCandidates)));
    // All were of one address.
    assert_eq!(outputs(&mut b).len(), sdp::CANDIDATES_PER_IP_MAX);
}

fn input() -> impl Strategy<Value = Input> {
    let text = prop_oneof![Just(description(1)), Just(candidate(HOST)), Just(String::new()), "\\PC{0,40}"];
    prop_oneof![
        text.clone().prop_map(Input::Description),
        text.clone().prop_map(Input::LocalCandidate),
        (text, 0..3).prop_map(|(text, kind)| Input::Message(match kind {
            0 => Message::Offer(text),
            1 => Message::Answer(text),
            _ => Message::Candidate(text),
        })),
        Just(Input::StreamEnded),
        Just(Input::Connected),
        Just(Input::Failed),
        Just(Input::InitClosed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_sequence_ends_in_order_or_in_an_error(initiator: bool, inputs in prop::collection::vec(input(), 0..40)) {
        let role = if initiator { Role::Initiator } else { Role::Responder };
        let mut signalling = Signalling::new(role, 0);
        let (mut sent_description, mut done) = (false, false);
        for input in inputs {
            if signalling.handle(input).is_err() {
                break;
            }
            for output in outputs(&mut signalling) {
                match output {
                    Output::Send(Message::Candidate(_)) => prop_assert!(sent_description),
                    Output::Send(_) => {
                        prop_assert!(!sent_description, "one description an end");
                        sent_description = true;
                    }
                    Output::Done => {
                        prop_assert!(!done && sent_description);
                        done = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Of what is drawn at random: the same in each run.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Messages for each role that are not in order.
const MALFORMED: usize = 10_000;
/// Ways of making them.
const WAYS: usize = 13;
/// Those of which one may happen to be in order all the same: a bit that matters to nobody.
const FLIPS: [usize; 2] = [8, 12];

/// The description that an end of this role waits for.
fn awaited(role: Role, sdp: String) -> Message {
    match role {
        Role::Initiator => Message::Answer(sdp),
        Role::Responder => Message::Offer(sdp),
    }
}

/// An attempt to which the other end's description is to come.
fn awaiting(role: Role) -> Signalling {
    let mut signalling = Signalling::new(role, 0);
    // Means nothing to the responder, who is not asked for it yet.
    signalling.handle(Input::Description(description(1))).unwrap();
    outputs(&mut signalling);
    signalling
}

/// An attempt to which candidates may come.
fn trading(role: Role) -> Signalling {
    let mut signalling = awaiting(role);
    signalling.handle(Input::Message(awaited(role, description(1)))).unwrap();
    signalling.handle(Input::Description(description(2))).unwrap();
    outputs(&mut signalling);
    signalling
}

/// A body with a length that says so.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut buffer = unsigned_varint::encode::u32_buffer();
    let length = unsigned_varint::encode::u32(body.len() as u32, &mut buffer);
    [length, body].concat()
}

fn body(message: Message) -> Vec<u8> {
    let bytes = message.encode();
    unsigned_varint::decode::u32(&bytes).unwrap().1.to_vec()
}

fn flipped(mut bytes: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    let place = random.random_range(0..bytes.len());
    bytes[place] ^= 1_u8 << random.random_range(0..8_u32);
    bytes
}

/// A valid message made one that is not, and the attempt that it comes to.
fn malformed(role: Role, way: usize, random: &mut StdRng) -> (Signalling, Vec<u8>) {
    let sdp = description(1);
    let mut whole = body(awaited(role, sdp.clone()));
    match way {
        // Cut off, and its length says so.
        0 => (awaiting(role), framed(&whole[..random.random_range(0..whole.len())])),
        // Cut off, and nothing follows.
        1 => {
            let bytes = framed(&whole);
            (awaiting(role), bytes[..random.random_range(0..bytes.len())].to_vec())
        }
        // Longer than any may be.
        2 => {
            let mut buffer = unsigned_varint::encode::u32_buffer();
            let bytes = MESSAGE_MAX_BYTES + 1 + random.random_range(0..1_usize << 20);
            let length = unsigned_varint::encode::u32(bytes as u32, &mut buffer);
            (awaiting(role), [length, whole.as_slice()].concat())
        }
        // Of a type that is not to come now.
        3 => {
            let message = match (role, random.random_range(0..2)) {
                (Role::Initiator, 0) => Message::Offer(sdp),
                (Role::Responder, 0) => Message::Answer(sdp),
                _ => Message::Candidate(candidate(HOST)),
            };
            (awaiting(role), message.encode())
        }
        // Of a type that there is not: the second byte says it.
        4 => {
            whole[1] = 3 + random.random_range(0..100_u8);
            (awaiting(role), framed(&whole))
        }
        // A text that is none.
        5 => {
            let place = whole.len() - 1 - random.random_range(0..sdp.len());
            whole[place] = 0xff;
            (awaiting(role), framed(&whole))
        }
        // A description that lacks what it must have.
        6 => {
            let needed = ["m=", "a=mid:", "a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:"];
            let missing = needed[random.random_range(0..needed.len())];
            let rest = sdp.lines().filter(|line| !line.starts_with(missing)).flat_map(|line| [line, "\r\n"]).collect();
            (awaiting(role), awaited(role, rest).encode())
        }
        // One that leads where no peer can be, or to too many doors.
        7 => {
            let nowhere = "a=candidate:1 1 udp 1 224.0.0.1 9 typ host\r\n".to_owned();
            let many = format!("a={HOST}\r\n").repeat(CANDIDATES_MAX);
            let more = if random.random_range(0..2) == 0 { nowhere } else { many };
            (awaiting(role), awaited(role, sdp + &more).encode())
        }
        8 => (awaiting(role), flipped(framed(&whole), random)),
        // A candidate that is cut off, or too long.
        9 => {
            let json = candidate(HOST);
            (
                trading(role),
                Message::Candidate(json.get(..random.random_range(0..json.len())).unwrap().to_owned()).encode(),
            )
        }
        10 => {
            let long = "x".repeat(2 * sdp::CANDIDATE_MAX_BYTES + random.random_range(0..1_000_usize));
            (trading(role), Message::Candidate(candidate(&long)).encode())
        }
        // A description where one was there.
        11 => {
            let message = if random.random_range(0..2) == 0 { Message::Offer(sdp) } else { Message::Answer(sdp) };
            (trading(role), message.encode())
        }
        _ => (trading(role), flipped(Message::Candidate(candidate(HOST)).encode(), random)),
    }
}

/// What a decoder of its own and this attempt make of these bytes, after which the stream ends.
fn judge(mut signalling: Signalling, bytes: &[u8]) -> Result<Vec<Output>, Box<dyn std::error::Error>> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    while let Some(message) = decoder.next_message()? {
        signalling.handle(Input::Message(message))?;
    }
    // The responder's, if the offer was taken.
    signalling.handle(Input::Description(description(2)))?;
    signalling.handle(Input::StreamEnded)?;
    Ok(outputs(&mut signalling))
}

/// Whether what is handed to a backend has passed the checks.
fn is_checked(output: &Output) -> bool {
    match output {
        Output::CreateAnswer { offer: sdp } | Output::SetRemote(sdp) => sdp::check(sdp).is_ok(),
        Output::AddCandidate { json, target } => match candidate_of(json) {
            Ok(Some(candidate)) => sdp::check_candidate(&candidate) == Ok(*target),
            _ => false,
        },
        _ => true,
    }
}

#[test]
fn each_of_ten_thousand_malformed_messages_is_an_error_in_either_role_and_a_flipped_bit_passes_no_check() {
    for role in [Role::Initiator, Role::Responder] {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut refused_flips = 0;
        for number in 0..MALFORMED {
            let way = number % WAYS;
            let (signalling, bytes) = malformed(role, way, &mut random);
            match judge(signalling, &bytes) {
                Err(_) => refused_flips += usize::from(FLIPS.contains(&way)),
                Ok(outputs) => {
                    assert!(FLIPS.contains(&way), "{role:?}, way {way}: {bytes:?} gives {outputs:?}");
                    assert!(outputs.iter().all(is_checked), "{role:?}, way {way}: {bytes:?} gives {outputs:?}");
                }
            }
        }
        assert!(refused_flips > 0, "{role:?}");
    }
}
