//! Merges, changes of number, moves, links and swaps: one golden for each trigger.

use schemas::Outcome;

use super::{adt_of, flags, refusals, told_of};

/// The facts of this code, without the code and the time, which is EVN-2's.
fn tied(trigger: &str, rest: &str, code: &str) -> Vec<String> {
    let mapped = adt_of(trigger, rest);
    assert_eq!((mapped.outcome, refusals(&mapped)), (Outcome::Mapped, vec![]), "{trigger}");
    let prefix = format!("{code} 2020-03-01T14:30Z ");
    told_of(&mapped, code).iter().map(|fact| fact.strip_prefix(&prefix).unwrap_or("another time").to_owned()).collect()
}

fn refused(trigger: &str, rest: &str) -> Vec<String> {
    refusals(&adt_of(trigger, rest))
}

const PID: &str = "PID|1||1^^^N^MR\r";

#[test]
fn persons_are_merged_by_every_trigger_that_merges_them() {
    for trigger in ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"] {
        assert_eq!(tied(trigger, &[PID, "MRG|2^^^N^MR"].concat(), "patient.merged"), ["N:1 - - - N|2"], "{trigger}");
    }
}

#[test]
fn each_group_of_a_merge_merges_its_own_and_none_into_itself() {
    let mapped = adt_of(
        "A40",
        "PID|1||1^^^N^MR\rMRG|2^^^N^MR\rPV1|1|I\rPID|1||3^^^N^MR\rMRG|4^^^N^MR~5^^^N\rMRG|7^^^N^MR\rPID|1||6^^^N^MR\rMRG|6^^^N^MR\r",
    );
    assert_eq!(
        told_of(&mapped, "patient.merged"),
        [
            "patient.merged 2020-03-01T14:30Z N:1 - - - N|2",
            "patient.merged 2020-03-01T14:30Z N:3 - - - N|4",
            "patient.merged 2020-03-01T14:30Z N:3 - - - N|5",
            "patient.merged 2020-03-01T14:30Z N:3 - - - N|7",
        ]
    );
    assert_eq!(refusals(&mapped), ["MRG[4]-1: a patient cannot be merged into itself"]);
}

#[test]
fn the_survivor_is_the_number_that_is_not_merged_away() {
    let merged = |pid: &str, mrg: &str| tied("A40", &format!("PID|1||{pid}\rMRG|{mrg}"), "patient.merged");
    assert_eq!(merged("2^^^N^MR~1^^^N^MR", "2^^^N^MR"), ["N:1 - - - N|2"], "the sender lists the old number still");
    assert_eq!(merged("1^^^A^MR~2^^^B^MR", "1^^^A^MR"), ["B:2 - - - A|1"]);
    let itself = refused("A40", "PID|1||6^^^N^MR~123^^^SSA^SS\rMRG|6^^^N^MR");
    assert_eq!(itself, ["MRG[1]-1: a patient cannot be merged into itself"], "an insurance number is nobody's survivor");
}

#[test]
fn a_number_that_relatives_may_share_is_not_merged_beside_another() {
    let merged = |mrg: &str| tied("A40", &format!("{PID}MRG|{mrg}"), "patient.merged");
    assert_eq!(merged("FAM9^^^BLUE^MC~2^^^N^MR~7^^^X^PI"), ["N:1 - - - N|2", "N:1 - - - X|7"]);
    assert_eq!(merged("FAM9^^^BLUE^MC"), ["N:1 - - - BLUE|FAM9"]);
}

#[test]
fn a_merged_number_without_an_authority_is_of_the_survivors() {
    let merged = |pid: &str, mrg: &str| tied("A40", &format!("PID|1||{pid}\rMRG|{mrg}"), "patient.merged");
    assert_eq!(merged("1^^^N^MR", "2"), ["N:1 - - - N|2"]);
    assert_eq!(merged("2^^^N^MR~1^^^N^MR", "2"), ["N:1 - - - N|2"]);
    assert_eq!(merged("1", "2"), [":1 - - - |2"]);
    assert_eq!(flags(&adt_of("A40", "PID|1||1^^^N^MR\rMRG|2")), ["MRG[1]-1: no assigning authority; taken as of the survivor's"]);
    assert_eq!(refused("A40", "PID|1||1^^^N^MR\rMRG|1"), ["MRG[1]-1: a patient cannot be merged into itself"]);
    let moved = tied("A45", "PID|1||1^^^N^MR\rMRG|2||||V1", "encounter.moved");
    assert_eq!(moved, ["N:1 V1 - visit N|2"]);
}

#[test]
fn an_external_number_is_merged_where_the_internal_one_stays() {
    let external = |trigger: &str| adt_of(trigger, "PID|1|E2^^^X|1^^^N^MR\rMRG|1^^^N^MR|||E1^^^X");
    for trigger in ["A30", "A39", "A46"] {
        let mapped = external(trigger);
        assert_eq!(told_of(&mapped, "patient.merged"), ["patient.merged 2020-03-01T14:30Z N:1 - - - X|E1"], "{trigger}");
        assert_eq!(flags(&mapped), ["MRG[1]-4: MRG-1 tells no two numbers apart; MRG-4 names the merged patient"]);
    }
    assert_eq!(refusals(&external("A40")), ["MRG[1]-1: a patient cannot be merged into itself"]);
}

#[test]
fn accounts_go_on_under_their_number() {
    let pid = "PID|1||1^^^N^MR|||||||||||||||A2\r";
    for trigger in ["A35", "A41", "A49", "A18", "A36"] {
        assert_eq!(tied(trigger, &[pid, "MRG|2^^^N^MR||A1"].concat(), "encounter.merged"), ["N:1 A2 - account A1"], "{trigger}");
    }
    for trigger in ["A35", "A41", "A49"] {
        assert_eq!(tied(trigger, &[pid, "MRG|2^^^N^MR||A1"].concat(), "patient.merged"), [""; 0], "{trigger}");
        assert_eq!(refused(trigger, &[pid, "MRG|2||A2"].concat()), ["MRG[1]-3: a visit cannot be merged into itself"]);
        assert_eq!(refused(trigger, &[pid, "MRG|2"].concat()), ["MRG[1]-3: the merged account has no number"]);
    }
    let visits = adt_of("A41", &[pid, "MRG|2||A1\rPV1|1|I|||||||||||||||||V1"].concat());
    assert!(told_of(&visits, "encounter.").is_empty(), "the visit has a number of its own");
    assert_eq!(flags(&visits), ["MRG[1]-3: accounts are not the visits here; what becomes of them says nothing of a stay"]);
}

#[test]
fn visits_go_on_under_their_number() {
    let pv1 = "MRG|1^^^N^MR||||V1^^^N|W1\rPV1|1|I|||||||||||||||||V2^^^N";
    for trigger in ["A42", "A50"] {
        assert_eq!(tied(trigger, &[PID, pv1].concat(), "encounter.merged"), ["N:1 V2 - visit V1"], "{trigger}");
        assert_eq!(refused(trigger, &[PID, "MRG|1||||V1"].concat()), ["PV1-19: the visit has no number"]);
        assert_eq!(refused(trigger, &[PID, "MRG|1\rPV1|1|I|||||||||||||||||V2"].concat()), ["MRG[1]-5: the merged visit has no number"]);
    }
    let alternate = [PID, "MRG|1||||V1|W1\r", &super::segment("PV1", &[(50, "W2")])].concat();
    assert_eq!(tied("A51", &alternate, "encounter.merged"), ["N:1 W2 - visit W1"]);
}

#[test]
fn visits_and_accounts_move_to_another_patient() {
    let visit = [PID, "MRG|2^^^N^MR||||V1\rPV1|1|I|||||||||||||||||V1\rMRG|2^^^N^MR||||V3\rPV1|1|I|||||||||||||||||V4"].concat();
    assert_eq!(tied("A45", &visit, "encounter.moved"), ["N:1 V1 - visit N|2", "N:1 V4 - visit N|2"]);
    assert_eq!(tied("A45", &visit, "encounter.merged"), ["N:1 V4 - visit V3"]);
    assert_eq!(tied("A45", &[PID, "MRG|||||V1"].concat(), "encounter.moved"), ["N:1 V1 - visit -"], "from whom is not said");
    assert_eq!(refused("A45", &[PID, "MRG|1^^^N^MR||||V1"].concat()), ["MRG[1]-1: a visit cannot be moved to the patient it belongs to"]);
    let account = "PID|1||1^^^N^MR|||||||||||||||A1\rMRG|2^^^N^MR||A1";
    assert_eq!(tied("A44", account, "encounter.moved"), ["N:1 A1 - account N|2"]);
    assert_eq!(tied("A44", &[PID, "MRG|2^^^N^MR||A1"].concat(), "encounter.moved"), ["N:1 A1 - account N|2"]);
    assert_eq!(refused("A44", &[PID, "MRG|2^^^N^MR"].concat()), ["MRG[1]-3: the account has no number"]);
}

#[test]
fn a_number_that_moves_to_another_person_leaves_the_others_behind() {
    let moved = "PID|1||1^^^N^MR~P2^^^N^PI\rMRG|1^^^N^MR~P1^^^N^PI";
    assert_eq!(tied("A43", moved, "patient.unlinked"), ["N:1 - - - N|P1"]);
    assert_eq!(tied("A43", &[PID, "MRG|2^^^N^MR"].concat(), "patient.merged"), ["N:1 - - - N|2"]);
}

#[test]
fn links_tie_and_unlinks_untie() {
    let two = "PID|1||1^^^N^MR\rPV1|1|I|||||||||||||||||V1\rPID|2||2^^^N^MR\rPV1|1|I|||||||||||||||||V2\rPID|3||3^^^N^MR";
    assert_eq!(tied("A24", two, "patient.linked"), ["N:1 V1 - V2 N|2", "N:1 - - - N|3"]);
    assert_eq!(tied("A37", two, "patient.unlinked"), ["N:1 V1 - V2 N|2", "N:1 - - - N|3"]);
    assert_eq!(refused("A24", "PID|1||1^^^N^MR\rPID|1||1^^^N^MR"), ["PID[2]-3: a patient cannot be linked to itself"]);
    assert_eq!(refused("A24", PID), ["PID[2]: a link needs two patients"]);
}

#[test]
fn patients_who_swap_beds_go_each_to_the_place_stated_for_them() {
    let swap = "PID|1||1^^^N^MR\rPV1|1|I|ICU^1|||||||||||||||||V1\rPID|2||2^^^N^MR\rPV1|1|I|WARD^2||||||||||||||||V2";
    let swap = swap.replace("ICU^1|||||||||||||||||V1", "ICU^1||||||||||||||||V1");
    assert_eq!(tied("A17", &swap, "encounter.transferred"), ["N:1 V1 - ICU -", "N:2 V2 - WARD -"]);
    let lost = adt_of("A17", "PID|1||1^^^N^MR\rPID|2||2^^^N^MR\rPV1|1|I|WARD||||||||||||||||V2");
    assert_eq!((told_of(&lost, "encounter.transferred").len(), refusals(&lost)), (1, vec!["PV1-19: the stay has no number".to_owned()]));
}

#[test]
fn a_merge_that_names_nobody_is_said() {
    assert_eq!(refused("A40", PID), ["MRG: the merge has no MRG"]);
    assert_eq!(refused("A40", "MRG|2^^^N^MR"), ["PID: the message has no PID"]);
    assert_eq!(refused("A40", &[PID, "MRG|"].concat()), ["MRG[1]-1: the merged patient has no number"]);
    assert_eq!(tied("A40", "MRG|2^^^N^MR\rPID|1||1^^^N^MR", "patient.merged"), ["N:1 - - - N|2"], "in whatever order");
}
