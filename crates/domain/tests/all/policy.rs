//! The policy's values.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use domain::policy::{Policy, Support};

fn asked_of(english: &str, chinese: &str) -> Policy {
    Policy {
        support_contact: english.into(),
        support_contact_zh_hant: chinese.into(),
        ..Policy::default()
    }
}

#[test]
fn whom_to_ask_is_said_in_both_languages_and_a_number_is_never_left_out_r11_r12() {
    assert_eq!(Policy::default().support(), Support::unsaid());
    let both = asked_of("hotline 2211 6688", "熱線 2211 6688").support();
    assert_eq!(both.english, "hotline 2211 6688");
    assert_eq!(both.chinese, "熱線 2211 6688");
    let one = asked_of("hotline 2211 6688", "").support();
    assert_eq!(one.chinese, "hotline 2211 6688");
}

#[test]
fn whom_to_ask_is_one_line_that_fits() {
    assert!(Policy::default().problems().is_empty());
    assert!(
        asked_of("2211 6688", "熱線 2211 6688")
            .problems()
            .is_empty()
    );
    let long = "x".repeat(257);
    for wrong in [
        asked_of("", ""),
        asked_of(&long, ""),
        asked_of("2211 6688", &long),
        asked_of("2211 6688\r\nBcc: everybody", ""),
        asked_of("2211 6688", "熱線\n2211 6688"),
    ] {
        assert_eq!(wrong.problems().len(), 1, "{wrong:?}");
    }
}

#[test]
fn a_policy_without_words_in_chinese_is_read() {
    let text = serde_json::to_value(asked_of("2211 6688", "熱線")).unwrap();
    let mut older = text.as_object().unwrap().clone();
    older.remove("support_contact_zh_hant").unwrap();
    let read: Policy = serde_json::from_value(older.into()).unwrap();
    assert_eq!(read, asked_of("2211 6688", ""));
}
