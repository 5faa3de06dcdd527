//! What a new password must meet (S15, S18), and nothing beyond it: no composition rules, no
//! history, no expiry (S17). Old passwords are never held to this; they are only compared.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::secret::Password;

/// Fewest code points where a second factor is asked for too (S15).
pub const LENGTH_MIN: usize = 8;
/// Fewest code points where the password stands alone (S15).
pub const LENGTH_MIN_ALONE: usize = 15;
/// From this length on, a name of the person may not stand inside the password; a shorter one
/// may not be all of it, but would stand in too many by chance.
pub const NAME_LENGTH_MIN: usize = 4;

/// Lower case, sorted by bytes; origin and licence in `common-passwords.LICENSE`.
static COMMON: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("common-passwords.txt").lines().collect());

/// What stands beside the password at a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// A card or a one-time password.
    WithSecondFactor,
    /// Nothing.
    Alone,
}

/// What an attacker knows of the person (S18).
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// The user id.
    pub user_id: &'a str,
    /// The participant id.
    pub participant_id: &'a str,
    /// The registered e-mail address, where there is one.
    pub email: Option<&'a str>,
}

/// Why a new password is refused; told to the person (S18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too few characters.
    #[error("the password is too short: use at least {min} characters")]
    TooShort {
        /// The limit that applies.
        min: usize,
    },
    /// On the list of common passwords.
    #[error("the password is one of the most common: choose another")]
    Common,
    /// On the configured list of stolen passwords.
    #[error("the password is on a list of passwords that were stolen elsewhere: choose another")]
    Breached,
    /// It has the user id in it.
    #[error("the password contains the user id: choose another")]
    UserId,
    /// It has the participant id in it.
    #[error("the password contains the participant id: choose another")]
    ParticipantId,
    /// It has the e-mail address, or its name part, in it.
    #[error("the password contains the e-mail address: choose another")]
    Email,
}

/// Checks a new password.
///
/// # Errors
/// The [`Refusal`] to tell the person.
pub fn check(password: &Password, strength: Strength, person: &Person<'_>) -> Result<(), Refusal> {
    let min = match strength {
        Strength::WithSecondFactor => LENGTH_MIN,
        Strength::Alone => LENGTH_MIN_ALONE,
    };
    if password.length() < min {
        return Err(Refusal::TooShort { min });
    }
    // Case folded, so that `Password1` is as common as `password1`.
    let folded = folded(password.text());
    if is_common(&folded) {
        return Err(Refusal::Common);
    }
    if contains(&folded, person.user_id) {
        return Err(Refusal::UserId);
    }
    if contains(&folded, person.participant_id) {
        return Err(Refusal::ParticipantId);
    }
    if let Some(email) = person.email {
        let name = email.split('@').next().unwrap_or(email);
        if contains(&folded, email) || contains(&folded, name) {
            return Err(Refusal::Email);
        }
    }
    Ok(())
}

fn is_common(folded: &str) -> bool {
    COMMON.binary_search(&folded).is_ok()
}

fn contains(folded_password: &str, name: &str) -> bool {
    let name = folded(name);
    if name.chars().count() < NAME_LENGTH_MIN {
        return *folded_password == **name;
    }
    folded_password.contains(&**name)
}

/// NFKC and lower case, without leaving copies behind.
fn folded(text: &str) -> Zeroizing<String> {
    let points = || text.nfkc().flat_map(char::to_lowercase);
    let bytes = points().map(char::len_utf8).sum();
    let mut folded = Zeroizing::new(String::with_capacity(bytes));
    folded.extend(points());
    folded
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;

    const PERSON: Person<'_> = Person {
        user_id: "C001USER1",
        participant_id: "B01",
        email: Some("wong.tai@example.com"),
    };

    fn checked(wire: &str) -> Result<(), Refusal> {
        let password = Password::parse(wire).ok().unwrap();
        check(&password, Strength::WithSecondFactor, &PERSON)
    }

    #[test]
    fn s15_eight_characters_do_beside_a_second_factor_and_fifteen_alone() {
        let alone = |wire: &str| {
            let password = Password::parse(wire).ok().unwrap();
            check(&password, Strength::Alone, &PERSON)
        };
        assert_eq!(checked("gxv8rtk"), Err(Refusal::TooShort { min: 8 }));
        assert_eq!(checked("gxv8rtkq"), Ok(()));
        assert_eq!(alone("gxv8rtkqgxv8rt"), Err(Refusal::TooShort { min: 15 }));
        assert_eq!(alone("gxv8rtkqgxv8rtk"), Ok(()));
    }

    #[test]
    fn s16_length_is_counted_in_code_points() {
        assert_eq!(checked("潮汐線密碼安全"), Err(Refusal::TooShort { min: 8 }));
        assert_eq!(checked("潮汐線密碼很安全"), Ok(()));
    }

    #[test]
    fn s17_nothing_is_asked_of_the_composition() {
        assert_eq!(checked("quiet harbour lamp"), Ok(()));
        assert_eq!(checked("4917360528"), Ok(()));
    }

    #[test]
    fn s18_at_least_the_3000_most_common_passwords_are_on_the_list() {
        assert!(COMMON.len() >= 3_000, "{}", COMMON.len());
        assert!(COMMON.is_sorted(), "the search needs the list sorted");
        assert!(COMMON.iter().all(|line| *line == folded(line).as_str()));
        for common in ["123456", "password", "qwerty", "letmein", "iloveyou"] {
            assert!(is_common(common), "{common}");
        }
    }

    #[test]
    fn s18_a_common_password_is_refused_in_any_case_or_width() {
        for wire in [
            "password1",
            "PassWord1",
            "ｐａｓｓｗｏｒｄ",
            "12345678",
            "1q2w3e4r",
        ] {
            assert_eq!(checked(wire), Err(Refusal::Common), "{wire}");
        }
    }

    #[test]
    fn s18_a_password_made_of_the_persons_names_is_refused_and_the_reason_told() {
        assert_eq!(checked("c001user1"), Err(Refusal::UserId));
        assert_eq!(checked("xxC001User1xx"), Err(Refusal::UserId));
        assert_eq!(checked("my-wong.tai-2023"), Err(Refusal::Email));
        assert_eq!(checked("Wong.Tai@Example.com"), Err(Refusal::Email));
        let long = Person {
            participant_id: "C00019",
            ..PERSON
        };
        let password = Password::parse("hello-c00019").ok().unwrap();
        let refused = check(&password, Strength::WithSecondFactor, &long);
        assert_eq!(refused, Err(Refusal::ParticipantId));
        assert!(
            Refusal::ParticipantId
                .to_string()
                .contains("participant id")
        );
    }

    #[test]
    fn a_very_short_name_may_stand_in_a_password_by_chance() {
        assert_eq!(checked("gxb01rtkq"), Ok(()));
    }
}
