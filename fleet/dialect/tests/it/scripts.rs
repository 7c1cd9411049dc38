//! Every dialect of ours as its fixtures have it: frames in and what they mean, commands and the frames that they are.

use crate::play::script;

#[test]
fn native_as_the_guide_has_it() {
    script("native", "script-guide.txt");
}

#[test]
fn native_in_all_its_spellings() {
    script("native", "script-variants.txt");
}

#[test]
fn native_knows_when_the_bot_may_speak() {
    script("native", "script-answer.txt");
}

#[test]
fn twilio() {
    script("twilio", "script.txt");
}

#[test]
fn exotel() {
    script("exotel", "script.txt");
}

#[test]
fn plivo_and_vobiz() {
    script("plivo", "script.txt");
}

#[test]
fn telnyx() {
    script("telnyx", "script.txt");
}

#[test]
fn telnyx_in_its_other_formats() {
    script("telnyx", "script-formats.txt");
}
