//! C-08: a code works once, in its time, for its place and one request; and survives people.

use proptest::prelude::*;
use sanku_tlog::{KeyType, SigningKey};

use super::*;

fn now() -> Time {
    "2026-03-01T00:00:00.000Z".parse().unwrap()
}

fn terms() -> Terms {
    Terms {
        federation: "hubei.example".parse().unwrap(),
        code: "421003".parse().unwrap(),
        authority: "421000".parse().unwrap(),
        doors: vec!["door.jingzhou.example:7444".to_owned()],
        certificate: Hash::of(b"a certificate"),
        root: Hash::of(b"a root"),
        not_after: now().plus(ONLINE),
    }
}

fn given_out() -> (Invitation, GivenOut) {
    let invitation = Invitation::new(terms()).unwrap();
    (invitation.clone(), GivenOut::new(invitation, None))
}

#[test]
fn c08_a_code_lets_one_request_in_and_no_other() {
    let (invitation, mut kept) = given_out();
    let (request, other) = (Hash::of(b"request"), Hash::of(b"another"));
    let code = terms().code;
    let mut redeem = |request: Hash, proof: Hash, at| kept.redeem(code, request, &proof, at);
    assert_eq!(
        redeem(other, invitation.prove(&request), now()),
        Err(NotRedeemed::Proof),
        "a swapped request"
    );
    assert_eq!(redeem(request, Hash::of(b"guess"), now()), Err(NotRedeemed::Proof));
    assert_eq!(redeem(request, invitation.prove(&request), now()), Ok(()));
    assert_eq!(redeem(other, invitation.prove(&other), now()), Err(NotRedeemed::Used));
    // The answer was lost: the same request again, also after the code's time.
    assert_eq!(
        redeem(request, invitation.prove(&request), now().plus(ONLINE * 2)),
        Ok(())
    );
    assert_eq!(kept.used(), Some(request));
}

#[test]
fn c08_a_code_expires_and_is_bound_to_its_place() {
    let (invitation, mut kept) = given_out();
    let request = Hash::of(b"request");
    let proof = invitation.prove(&request);
    let late = now().plus(ONLINE + Duration::from_millis(1));
    assert_eq!(
        kept.redeem(terms().code, request, &proof, late),
        Err(NotRedeemed::Expired)
    );
    let neighbour = "421002".parse().unwrap();
    assert_eq!(kept.redeem(neighbour, request, &proof, now()), Err(NotRedeemed::Place));
    assert_eq!(kept.used(), None);
    assert_eq!(
        kept.redeem(terms().code, request, &proof, now().plus(ONLINE)),
        Ok(()),
        "its last moment"
    );
    let other = Invitation::new(terms()).unwrap();
    assert_ne!(other.number(), invitation.number());
    assert_ne!(other.prove(&request), proof, "every code has a secret of its own");
}

#[test]
fn c08_a_swapped_request_shows_another_number_on_the_two_screens() {
    let authority = SigningKey::generate("hubei.example/revoked/421000", KeyType::Ed25519).unwrap();
    let (federation, code) = (terms().federation, terms().code);
    let challenge = Challenge::new(Hash::of(b"what arrived"), now().plus(BY_FILE)).unwrap();
    let note = challenge
        .sign(&federation, code, now(), &authority)
        .unwrap()
        .to_string();
    let read = |request: Hash, key: &SigningKey, at| {
        Challenge::read(note.as_bytes(), (&federation, code, request), key.verifier(), at)
    };
    let own = Hash::of(b"what was sent");
    // The machine refuses an answer to another request; a person would see it, too.
    assert!(read(own, &authority, now()).is_err());
    let swapped = Challenge {
        request: own,
        ..challenge.clone()
    };
    assert_ne!(swapped.digits(), challenge.digits());
    let same = read(challenge.request, &authority, now()).unwrap();
    assert_eq!(same.digits(), challenge.digits());
    assert!(
        read(challenge.request, &authority, now().plus(BY_FILE * 2)).is_err(),
        "void"
    );
    let stranger = SigningKey::generate("hubei.example/revoked/421000", KeyType::Ed25519).unwrap();
    assert_eq!(
        read(challenge.request, &stranger, now()),
        Err(sanku_federation_protocol::notes::NoteRefused::Signer)
    );
    let digits = challenge.digits().to_string();
    assert!(
        digits.len() == 7 && digits.chars().all(|sign| sign.is_ascii_digit() || sign == ' '),
        "{digits}"
    );
}

#[test]
fn a_file_says_everything_and_only_its_owner_reads_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("421003.invitation");
    let invitation = Invitation::new(terms()).unwrap();
    invitation.keep(&path).unwrap();
    let read = Invitation::read(&path).unwrap();
    assert_eq!(read.terms(), &terms());
    assert_eq!(read.number(), invitation.number());
    assert!(matches!(invitation.keep(&path), Err(CertsError::Exists(_))));
    let text = invitation.file().unwrap();
    for bad in [
        text.replace("v1", "v2"),
        text.replace("421003", "42100"),
        text.replace("\"secret\":\"", "\"secret\":\"00"),
        text.replace("{\"terms\"", "{ \"terms\""),
        text.trim_end().to_owned(),
        format!("{}\n", *text),
    ] {
        assert!(Invitation::parse(&bad).is_none(), "{bad}");
    }
    assert!(!format!("{invitation:?}{:?}", invitation.spoken()).contains(&hex::encode(*invitation.secret)));
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Invitation::read(&path), Err(CertsError::Permissions(_))));
}

#[test]
fn a_code_that_was_read_out_pins_what_the_door_must_show() {
    let invitation = Invitation::new(terms()).unwrap();
    let spoken = invitation.spoken();
    let heard: Spoken = spoken.to_string().parse().unwrap();
    assert_eq!(heard.number(), invitation.number());
    let same = heard.clone().with(terms()).unwrap();
    assert_eq!(
        same.prove(&Hash::of(b"request")),
        invitation.prove(&Hash::of(b"request"))
    );
    for other in [
        Terms {
            root: Hash::of(b"another root"),
            ..terms()
        },
        Terms {
            certificate: Hash::of(b"another authority"),
            ..terms()
        },
        Terms {
            code: "421002".parse().unwrap(),
            ..terms()
        },
    ] {
        assert_eq!(heard.clone().with(other).unwrap_err(), NotSpoken::Terms);
    }
}

#[test]
fn a_code_is_read_however_it_was_written_down() {
    let spoken = Spoken {
        secret: Zeroizing::new([7; 16]),
        digest: [250; 16],
    };
    let text = spoken.to_string();
    assert_eq!(text.lines().count(), 4);
    assert_eq!(text.lines().next().unwrap().len(), 16);
    for way in [
        text.to_lowercase(),
        text.replace('-', " "),
        text.replace('\n', ""),
        text.replace('0', "o").replace('1', "L"),
        text.replace('1', "i").replace('-', "—"),
        format!("  {text}\r\n"),
    ] {
        assert_eq!(way.parse::<Spoken>().as_ref(), Ok(&spoken), "{way}");
    }
    assert_eq!(text[..30].parse::<Spoken>(), Err(NotSpoken::Length(25)));
    assert_eq!(
        text.replace('-', "").replacen(|_| true, "U", 1).parse::<Spoken>(),
        Err(NotSpoken::Sign(1))
    );
    let rows: Vec<_> = text.lines().collect();
    let swapped = [rows[1], rows[0], rows[2], rows[3]].concat();
    assert_eq!(
        swapped.parse::<Spoken>(),
        Err(NotSpoken::Row(1)),
        "rows in another order"
    );
}

proptest! {
    #[test]
    fn one_wrong_sign_or_two_changed_about_are_found_and_the_row_is_named(
        secret: [u8; 16], digest: [u8; 16], row in 0_usize..4, one in 0_usize..14, two in 0_usize..14, by in 1_usize..32
    ) {
        const SIGNS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let spoken = Spoken { secret: Zeroizing::new(secret), digest };
        let good: Vec<u8> = spoken.to_string().bytes().filter(|sign| SIGNS.contains(sign)).collect();
        prop_assert_eq!(std::str::from_utf8(&good).unwrap().parse::<Spoken>(), Ok(spoken));
        let mut wrong = good.clone();
        let place = SIGNS.iter().position(|sign| *sign == wrong[row * 14 + one]).unwrap();
        wrong[row * 14 + one] = SIGNS[(place + by) % 32];
        prop_assert_eq!(String::from_utf8(wrong).unwrap().parse::<Spoken>(), Err(NotSpoken::Row(row + 1)));
        let mut changed = good.clone();
        changed.swap(row * 14 + one, row * 14 + two);
        if changed != good {
            prop_assert_eq!(String::from_utf8(changed).unwrap().parse::<Spoken>(), Err(NotSpoken::Row(row + 1)));
        }
    }

    #[test]
    fn no_text_makes_the_readers_stumble(text in "[0-9A-Za-z \\-\n{}\":,]{0,120}", bytes: Vec<u8>) {
        let _ = text.parse::<Spoken>();
        prop_assert!(Invitation::parse(&text).is_none());
        let stranger = SigningKey::from_seed("hubei.example/revoked/421000", KeyType::Ed25519, [9; 32]).unwrap();
        let about = (&terms().federation, terms().code, Hash::of(b"request"));
        prop_assert!(Challenge::read(&bytes, about, stranger.verifier(), now()).is_err());
    }
}
