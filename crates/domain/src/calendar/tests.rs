//! The calendar's rules as facts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use proptest::prelude::*;

use super::*;
use crate::portal::Portal;

const TIMETABLE: &str = r#"
[[weekly]]
id = "day"
label = "Ordinary business day"
weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri"]
opens = "08:00"
closes = "20:00"

[[day]]
heading = "10 June 2023 (Saturday) – Post-release connectivity test"

[[day.session]]
id = "S1-2023-06-10"
centre = "east"
opens = "18:00"
closes = "20:00"
purpose = "connectivity-test"
source = "CD/OEC/SEOCH/093/2023"

[[day.session]]
id = "S2-2023-06-10"
centre = "west"
opens = "22:00"
closes = "23:00"
purpose = "connectivity-test"
source = "CD/OEC/SEOCH/093/2023"
initiation = "deny"
enrolled_only = true
"#;

const LINKS: &str = r#"
[[link]]
id = "pack"
text = "Information pack \"2FA\""
url = "https://www.example.com/pack"
from = "2023-05-15"

[[link]]
id = "guide"
text = "Registration guide"
text_zh_hant = "登記指引"
url = "https://www.example.com:8443/guide?lang=zh#top"
from = "2023-06-02"
portals = ["DMS"]
"#;

fn east() -> CentreName {
    CentreName::parse("east").unwrap()
}

#[test]
fn a_calendar_s_timetable_file_yields_the_same_calendar() {
    let quoted = TIMETABLE.replace("Ordinary business day", r#"\"Ordinary\" day \\ 平日"#);
    let open = TIMETABLE.replace(
        "initiation = \"deny\"",
        "business_functions_open = true\ntitle = \"Session 2\"",
    );
    let empty_day = format!("{TIMETABLE}\n[[day]]\nheading = \"17 June 2023 (Saturday)\"\n");
    let links = format!("{TIMETABLE}{LINKS}");
    for text in [TIMETABLE, &quoted, &open, &empty_day, &links, LINKS, ""] {
        let calendar = Calendar::new(Timetable::parse(text).unwrap(), BTreeSet::new());
        let file = calendar.timetable_file();
        let again = Timetable::parse(&file).unwrap_or_else(|wrong| panic!("{wrong:?}\n{file}"));
        assert_eq!(Calendar::new(again, BTreeSet::new()), calendar, "{file}");
    }
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn at(date: &str, time: &str) -> UnixMs {
    day(date).at(time.parse().unwrap()).unwrap()
}

fn circular() -> Calendar {
    let holidays = parse_holidays("2023-05-26 Buddha\n2023-06-22 # Tuen Ng\n\n").unwrap();
    Calendar::new(Timetable::parse(TIMETABLE).unwrap(), holidays)
}

fn problems(text: &str) -> Vec<String> {
    Timetable::parse(text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_link_is_released_from_midnight_of_its_day_in_hong_kong_r7() {
    let calendar = Calendar::new(Timetable::parse(LINKS).unwrap(), BTreeSet::new());
    let shown = |now: UnixMs, portal| {
        let links = calendar.links_released(now, portal);
        links.map(|link| link.id.to_string()).collect::<Vec<_>>()
    };
    let midnight = at("2023-06-02", "00:00");
    // Midnight in Hong Kong is 16:00 of the day before in UTC.
    assert_eq!(midnight.0, 1_685_635_200_000);
    assert_eq!(shown(midnight.minus(1), None), ["pack"]);
    assert_eq!(shown(midnight, None), ["pack", "guide"]);
    assert_eq!(shown(at("2023-06-12", "12:00"), None), ["pack", "guide"]);
    assert_eq!(shown(midnight, Some(Portal::Ccms)), ["pack"]);
    assert_eq!(shown(midnight, Some(Portal::Dms)), ["pack", "guide"]);
    assert!(shown(at("2023-05-14", "23:59"), None).is_empty());
}

#[test]
fn a_link_that_no_page_can_show_is_refused_with_its_place_r7() {
    for url in [
        "http://www.example.com/guide",
        "www.example.com/guide",
        "https://",
        "https:///guide",
        "https://user@www.example.com/",
        "https://www..example.com/",
        "https://www.example.com:port/",
        "https://www.example.com/a b",
        "https://www.example.com/'onclick=",
        "https://www.example.com/<script>",
        "https://www.example.com/指引",
        &format!("https://www.example.com/{}", "a".repeat(URL_BYTES_MAX)),
    ] {
        let file = LINKS.replace("https://www.example.com/pack", url);
        let found = problems(&file);
        assert_eq!(found.len(), 1, "{url}: {found:?}");
        let begins = "link 1 (pack): url: must be an address such as https://";
        assert!(found[0].starts_with(begins), "{found:?}");
    }
    for (was, is, wrong) in [
        ("[\"DMS\"]", "[]", "portals: must list"),
        ("[\"DMS\"]", "[\"dms\"]", "portals: must list"),
        ("2023-06-02", "2023-06-31", "from: "),
        (
            "text_zh_hant = \"登記指引\"",
            "text_zh_hant = \"\"",
            "text_zh_hant: ",
        ),
        ("text = \"Registration guide\"", "", "text: is missing"),
    ] {
        let found = problems(&LINKS.replace(was, is));
        assert_eq!(found.len(), 1, "{is}: {found:?}");
        assert!(found[0].starts_with("link 2 (guide): "), "{found:?}");
        assert!(found[0].contains(wrong), "{found:?}");
    }
}

#[test]
fn links_have_ids_of_their_own_and_a_bounded_number_r7() {
    let found = problems(&LINKS.replace("\"guide\"", "\"pack\""));
    assert_eq!(found, ["link pack: another link has this id"]);
    let many = |count: usize| {
        let one = |n: usize| LINKS.replace("\"pack\"", &format!("\"p{n}\""));
        let links = (0..count).map(|n| one(n).replace("\"guide\"", &format!("\"g{n}\"")));
        links.collect::<String>()
    };
    assert_eq!(
        Timetable::parse(&many(LINKS_MAX / 2)).unwrap().links.len(),
        LINKS_MAX
    );
    let found = problems(&many(LINKS_MAX / 2 + 1));
    assert_eq!(found, ["the links: 34 links; at most 32"]);
}

#[test]
fn after_saturday_10_june_2023_comes_monday_12_june_r49() {
    let calendar = circular();
    let next = calendar.next_business_day(day("2023-06-10")).unwrap();
    assert_eq!(next.to_string(), "2023-06-12");
    assert_eq!(next.long(), "Mon 12 Jun 2023");
    // Thursday 22 June was a holiday.
    let next = calendar.next_business_day(day("2023-06-21")).unwrap();
    assert_eq!(next.to_string(), "2023-06-23");
}

#[test]
fn session_1_holds_from_18_00_until_just_before_20_00_r15() {
    let calendar = circular();
    let opens = at("2023-06-10", "18:00");
    let closes = at("2023-06-10", "20:00");
    let id = |time| {
        calendar
            .session_at(time, &east())
            .map(|session| session.id.to_string())
    };
    assert_eq!(id(opens.minus(1_000)), None);
    assert_eq!(id(opens).as_deref(), Some("S1-2023-06-10"));
    assert_eq!(id(closes.minus(1)).as_deref(), Some("S1-2023-06-10"));
    assert_eq!(id(closes), None);
    assert_eq!(id(at("2023-06-10", "21:00")), None, "the gap, R17");
    assert_eq!(
        id(at("2023-06-10", "22:00")).as_deref(),
        Some("S2-2023-06-10")
    );
    assert_eq!(id(at("2023-06-11", "12:00")), None, "Sunday, R54");
}

#[test]
fn the_session_before_s2_is_s1_and_the_one_after_is_monday_s() {
    let calendar = circular();
    let s2 = calendar
        .session(&SessionId::parse("S2-2023-06-10").unwrap(), &east())
        .unwrap();
    let previous = calendar.previous_session(s2.opens, &east()).unwrap();
    assert_eq!(previous.id.as_str(), "S1-2023-06-10");
    let next = calendar.next_session(s2.opens, &east()).unwrap();
    assert_eq!(next.id.as_str(), "day-2023-06-12");
    assert_eq!(next.centre, east());
    assert_eq!(next.opens, at("2023-06-12", "08:00"));
    assert_eq!(
        calendar.opening_of(day("2023-06-12"), &east()),
        Some(next.opens)
    );
    assert_eq!(calendar.session(&next.id, &east()), Some(next));
}

#[test]
fn the_weekly_rule_does_not_hold_on_holidays_and_named_days() {
    let mut calendar = circular();
    assert!(calendar.sessions_on(day("2023-06-22"), &east()).is_empty());
    assert_eq!(calendar.sessions_on(day("2023-06-13"), &east()).len(), 1);
    calendar.days_named.insert(day("2023-06-13"));
    assert!(calendar.sessions_on(day("2023-06-13"), &east()).is_empty());
}

#[test]
fn an_ordinary_session_is_at_the_centre_that_is_primary() {
    let west = CentreName::parse("west").unwrap();
    let session = circular()
        .session_at(at("2023-06-13", "09:00"), &west)
        .unwrap();
    assert_eq!(session.centre, west);
    assert!(session.business_functions_open);
}

#[test]
fn a_session_is_shown_in_local_time_and_utc_r14() {
    let calendar = circular();
    assert_eq!(
        calendar.timetable[0].window(),
        "Sat 10 Jun 2023 18:00–20:00 HKT (10:00–12:00 UTC)"
    );
    assert!(!calendar.timetable[0].business_functions_open, "R27");
    assert_eq!(calendar.timetable[1].initiation, Initiation::Deny, "R42");
    assert!(calendar.timetable[1].enrolled_only, "R5");
    assert_eq!(
        calendar.timetable[1].source.as_deref(),
        Some("CD/OEC/SEOCH/093/2023"),
        "R57"
    );
}

#[test]
fn a_timetable_with_the_annex_s_own_heading_is_refused_r13() {
    let wrong = TIMETABLE.replace("10 June 2023", "10 June 2022");
    let found = problems(&wrong);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("10 June 2022 was a Friday, not a Saturday"));
}

#[test]
fn all_problems_of_a_file_are_listed() {
    let found = problems(
        r#"
zone = "UTC"
colour = "blue"
[[weekly]]
id = "day"
weekdays = ["Mon", "Blursday"]
opens = "8:00"
closes = "20:00"
[[day]]
heading = "10 June 2023 (Saturday)"
[[day.session]]
id = "a"
centre = "east"
opens = "18:00"
closes = "17:00"
[[day.session]]
id = "b"
centre = "east"
opens = "18:00"
closes = "20:00"
[[day.session]]
id = "b"
centre = "west"
opens = "19:00"
closes = "21:00"
[[day.session]]
centre = 4
opens = "21:00"
closes = "22:00"
purpose = "fun"
enrolled_only = "yes"
[[day]]
heading = "10 June 2023 (Saturday)"
"#,
    )
    .join("\n");
    for expected in [
        "the file: zone: the zone can only be Asia/Hong_Kong",
        "the file: colour: is no known field",
        "weekly rule 1 (day): opens: \"8:00\" is not a time of day",
        "weekly rule 1 (day): weekdays: \"Blursday\" is not a weekday",
        "session a: closes before it opens",
        "session b: overlaps session b",
        "session b: another session has this id",
        "day 1, session 4: id: is missing",
        "day 1, session 4: centre: must be a text in quotes",
        "day 1, session 4: purpose: must be one of business, connectivity-test, drill",
        "day 1, session 4: enrolled_only: must be true or false",
        "day 2: 2023-06-10 has a heading already",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    assert!(problems("\n\n[[day]\n")[0].starts_with("line 3: "));
}

#[test]
fn sessions_that_touch_do_not_overlap() {
    let touching = TIMETABLE.replace("\"22:00\"", "\"20:00\"");
    assert!(Timetable::parse(&touching).is_ok());
    let overlapping = TIMETABLE.replace("\"22:00\"", "\"19:59\"");
    assert!(Timetable::parse(&overlapping).is_err());
}

#[test]
fn wrong_lines_of_a_holidays_file_are_all_listed() {
    let found =
        parse_holidays("2023-01-02\n# note\ntomorrow\n2023-01-02 again\n2023-02-30\n").unwrap_err();
    let lines: Vec<&str> = found.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(lines, ["line 3", "line 4", "line 5"]);
}

#[test]
fn no_session_for_the_next_business_day_is_an_error() {
    let mut calendar = circular();
    let now = at("2023-06-10", "12:00");
    assert!(
        calendar
            .lint(now, &east())
            .iter()
            .all(|finding| finding.severity == Severity::Warning)
    );
    calendar.weekly.clear();
    let findings = calendar.lint(now, &east());
    assert_eq!(findings[0].severity, Severity::Error);
    assert_eq!(findings[0].code, "NO_SESSION_PLANNED");
    assert!(findings[0].what.contains("Mon 12 Jun 2023"));
}

#[test]
fn the_calendar_survives_its_own_encoding() {
    let calendar = circular();
    let bytes = rmp_serde::to_vec_named(&calendar).unwrap();
    assert_eq!(rmp_serde::from_slice::<Calendar>(&bytes).unwrap(), calendar);
}

prop_compose! {
    fn any_day()(year in 2000_i16..2090, month in 1_i8..=12, dom in 1_i8..=28) -> Day {
        Day::new(year, month, dom).unwrap()
    }
}

prop_compose! {
    fn any_calendar()(holidays in prop::collection::btree_set(any_day(), 0..60)) -> Calendar {
        Calendar { holidays, ..circular() }
    }
}

proptest! {
    #[test]
    fn the_next_business_day_is_the_first_one_after(calendar in any_calendar(), day in any_day()) {
        let next = calendar.next_business_day(day).unwrap();
        prop_assert!(next > day);
        prop_assert!(calendar.is_business_day(next));
        let mut between = day.tomorrow().unwrap();
        while between < next {
            prop_assert!(!calendar.is_business_day(between));
            between = between.tomorrow().unwrap();
        }
    }

    #[test]
    fn previous_undoes_next_on_business_days(calendar in any_calendar(), day in any_day()) {
        prop_assume!(calendar.is_business_day(day));
        let next = calendar.next_business_day(day).unwrap();
        prop_assert_eq!(calendar.previous_business_day(next), Some(day));
    }

    #[test]
    fn at_most_one_session_holds_at_any_time(calendar in any_calendar(), day in any_day(), minute in 0_u64..1440) {
        let time = day.start().unwrap().plus(minute * 60_000);
        let holding = calendar
            .sessions_on(day, &east())
            .into_iter()
            .filter(|session| session.holds(time))
            .count();
        prop_assert!(holding <= 1);
        prop_assert_eq!(calendar.session_at(time, &east()).is_some(), holding == 1);
    }

    #[test]
    fn next_and_previous_session_are_neighbours(calendar in any_calendar(), day in any_day(), minute in 0_u64..1440) {
        let time = day.start().unwrap().plus(minute * 60_000);
        let next = calendar.next_session(time, &east()).unwrap();
        prop_assert!(next.opens > time);
        let previous = calendar.previous_session(next.opens, &east()).unwrap();
        prop_assert!(previous.opens <= time);
        let between = calendar.sessions_between(time.plus(1), next.opens, &east());
        prop_assert!(between.is_empty());
    }

    #[test]
    fn a_day_survives_its_text_and_its_moment(day in any_day()) {
        prop_assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
        prop_assert_eq!(Day::of(day.start().unwrap()), Some(day));
        prop_assert_eq!(day.tomorrow().unwrap().yesterday(), Some(day));
    }
}
