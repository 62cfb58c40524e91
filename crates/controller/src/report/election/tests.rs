//! Elections among candidates that are paused, cut off and lied to about the date, on a clock of
//! the test's own.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use proptest::prelude::*;

use super::*;

/// What the API server keeps: one Lease, with a version per write.
#[derive(Debug, Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
    writes: usize,
}

impl Server {
    fn perform(&mut self, step: &Step) -> Answer {
        match step {
            Step::Wait(_) => Answer::Waited,
            Step::Read => match &self.lease {
                Some(lease) => Answer::Read(Box::new(lease.clone())),
                None => Answer::Absent,
            },
            Step::Create(_) if self.lease.is_some() => Answer::Conflict,
            Step::Create(lease) => self.keep(lease),
            Step::Replace(lease) => match &self.lease {
                None => Answer::Absent,
                Some(kept) if kept.metadata.resource_version != lease.metadata.resource_version => {
                    Answer::Conflict
                }
                Some(_) => self.keep(lease),
            },
        }
    }

    fn keep(&mut self, lease: &Lease) -> Answer {
        self.version += 1;
        self.writes += 1;
        let mut lease = lease.clone();
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Written(Box::new(lease))
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default()
    }

    fn holder(&self) -> String {
        self.spec().holder_identity.unwrap_or_default()
    }
}

/// One candidate as a process: when it goes on, and with which answer.
#[derive(Debug)]
struct Process {
    candidate: Candidate,
    answer: Answer,
    due: Duration,
    /// Does nothing before.
    paused_until: Duration,
    /// Hears nothing from the server before.
    cut_off_until: Duration,
    /// What its calendar is wrong by.
    wrong_by: SignedDuration,
    is_dead: bool,
}

#[derive(Debug)]
struct World {
    start: Instant,
    at: Duration,
    server: Server,
    processes: Vec<Process>,
    random: u64,
    /// Who led, in order, without repetition.
    led: Vec<usize>,
}

const LATENCY: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(10);

impl World {
    fn new(count: usize) -> Self {
        let process = |index: usize| Process {
            candidate: Candidate::new("system", "leader", format!("pod-{index}"), TIMING),
            answer: Answer::Waited,
            due: Duration::from_millis(30 * index as u64),
            paused_until: Duration::ZERO,
            cut_off_until: Duration::ZERO,
            wrong_by: SignedDuration::ZERO,
            is_dead: false,
        };
        Self {
            start: Instant::now(),
            at: Duration::ZERO,
            server: Server::default(),
            processes: (0..count).map(process).collect(),
            random: 7,
            led: Vec::new(),
        }
    }

    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 40) as f64 / f64::from(1 << 24)
    }

    fn now(&self, index: usize) -> Now {
        let since = SignedDuration::try_from(self.at).unwrap();
        let calendar = Timestamp::from_second(1_800_000_000).unwrap() + since;
        Now { instant: self.start + self.at, calendar: calendar + self.processes[index].wrong_by }
    }

    /// Those who lead now, by what they would say if they were asked.
    fn leaders(&self) -> Vec<usize> {
        let now = self.start + self.at;
        let leads = |p: &Process| !p.is_dead && p.candidate.holds_until().is_some_and(|u| now < u);
        (0..self.processes.len()).filter(|&index| leads(&self.processes[index])).collect()
    }

    fn run(&mut self, length: Duration) {
        let end = self.at + length;
        while self.at < end {
            self.at += STEP;
            for index in 0..self.processes.len() {
                self.advance(index);
            }
            let leaders = self.leaders();
            assert!(leaders.len() <= 1, "{leaders:?} lead at {:?}", self.at);
            if let [leader] = leaders[..]
                && self.led.last() != Some(&leader)
            {
                self.led.push(leader);
            }
        }
    }

    fn advance(&mut self, index: usize) {
        let (chance, now) = (self.chance(), self.now(index));
        let process = &mut self.processes[index];
        if process.is_dead || self.at < process.due || self.at < process.paused_until {
            return;
        }
        let answer = std::mem::replace(&mut process.answer, Answer::Failed);
        let step = process.candidate.next(now, answer, chance);
        match &step {
            Step::Wait(wait) => {
                process.due = self.at + *wait;
                process.answer = Answer::Waited;
            }
            _ if self.at < process.cut_off_until => {
                process.due = self.at + process.candidate.patience(now.instant);
            }
            _ => {
                process.answer = self.server.perform(&step);
                process.due = self.at + LATENCY;
            }
        }
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn the_first_to_write_leads_and_stays() {
    let mut world = World::new(3);
    world.run(seconds(600));
    assert_eq!(world.led, [0]);
    let spec = world.server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("pod-0"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
    // One every two seconds, and what an answer takes.
    assert!((290..=300).contains(&world.server.writes), "{} writes", world.server.writes);
}

#[test]
fn of_two_who_create_at_once_one_leads() {
    let mut world = World::new(2);
    world.processes[1].due = world.processes[0].due;
    world.run(seconds(60));
    assert_eq!(world.led.len(), 1);
}

#[test]
fn a_dead_leader_is_followed_when_its_record_has_stood_still_for_the_lease() {
    let mut world = World::new(3);
    world.run(seconds(60));
    world.processes[0].is_dead = true;
    world.run(seconds(14));
    assert_eq!(world.server.holder(), "pod-0");
    world.run(seconds(8));
    assert_eq!(world.led.len(), 2);
    let spec = world.server.spec();
    assert_eq!(spec.lease_transitions, Some(1));
    assert!(spec.acquire_time.unwrap().0 > Timestamp::from_second(1_800_000_060).unwrap());
}

#[test]
fn a_released_lease_is_taken_at_the_next_look() {
    let mut world = World::new(3);
    world.run(seconds(60));
    let now = world.now(0);
    let released = world.processes[0].candidate.release(now).unwrap();
    assert!(world.processes[0].candidate.holds_until().is_none());
    world.server.perform(&Step::Replace(released));
    let spec = world.server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some(""));
    assert_eq!(spec.lease_duration_seconds, Some(1));
    world.processes[0].is_dead = true;
    world.run(Duration::from_millis(4_500));
    assert_eq!(world.led.len(), 2);
    assert_eq!(world.server.spec().lease_transitions, Some(1));
}

#[test]
fn what_is_anothers_is_not_given_back() {
    let mut world = World::new(2);
    world.run(seconds(10));
    let lease = Box::new(world.server.lease.clone().unwrap());
    let now = world.now(0);
    assert!(world.processes[0].candidate.given_back(lease.clone(), now).is_some());
    assert!(world.processes[1].candidate.given_back(lease, now).is_none());
}

#[test]
fn who_does_not_lead_has_nothing_to_release() {
    let mut world = World::new(2);
    world.run(seconds(10));
    let now = world.now(1);
    assert!(world.processes[1].candidate.release(now).is_none());
    // A leader whose time has passed must not touch what may be another's.
    world.at += seconds(11);
    let now = world.now(0);
    assert!(world.processes[0].candidate.release(now).is_none());
}

#[test]
fn a_paused_leader_has_lost_before_another_leads() {
    let mut world = World::new(3);
    world.run(seconds(60));
    world.processes[0].paused_until = seconds(120);
    // That at most one leads is asserted at every step, the paused one included.
    world.run(seconds(59));
    assert_eq!(world.led.len(), 2);
    world.run(seconds(60));
    assert_eq!(world.led.len(), 2, "who comes back follows");
    assert_ne!(world.server.holder(), "pod-0");
}

#[test]
fn a_short_pause_changes_nothing() {
    let mut world = World::new(3);
    world.run(seconds(60));
    world.processes[0].paused_until = seconds(67);
    world.run(seconds(60));
    assert_eq!(world.led, [0]);
}

#[test]
fn steps_of_the_calendar_change_nothing() {
    let mut world = World::new(3);
    world.run(seconds(60));
    world.processes[0].wrong_by = SignedDuration::from_hours(-24 * 365);
    world.processes[1].wrong_by = SignedDuration::from_hours(24 * 365);
    world.run(seconds(120));
    world.processes[0].wrong_by = SignedDuration::from_hours(7);
    world.processes[2].wrong_by = SignedDuration::from_hours(-7);
    world.run(seconds(120));
    assert_eq!(world.led, [0]);
}

#[test]
fn without_the_server_the_leader_ends_at_its_deadline_and_leads_again_after() {
    let mut world = World::new(3);
    world.run(seconds(60));
    for process in &mut world.processes {
        process.cut_off_until = seconds(360);
    }
    world.run(seconds(8));
    assert_eq!(world.leaders(), [0], "a hiccup is not an end");
    world.run(seconds(3));
    assert!(world.leaders().is_empty());
    world.run(seconds(289));
    assert!(world.leaders().is_empty());
    world.run(seconds(25));
    assert_eq!(world.leaders().len(), 1);
}

#[test]
fn a_leader_that_alone_is_cut_off_is_followed() {
    let mut world = World::new(2);
    world.run(seconds(60));
    world.processes[0].cut_off_until = seconds(90);
    world.run(seconds(60));
    assert_eq!(world.led, [0, 1]);
}

#[test]
fn a_write_that_came_through_although_no_answer_did_is_not_mistaken_for_anothers() {
    let mut world = World::new(1);
    world.run(seconds(20));
    // The renewal arrives; its answer does not.
    let now = world.now(0);
    let Step::Replace(lease) = world.processes[0].candidate.next(now, Answer::Waited, 0.0) else {
        panic!("a leader renews");
    };
    world.server.perform(&Step::Replace(lease));
    world.processes[0].answer = Answer::Failed;
    world.processes[0].due = world.at;
    let writes = world.server.writes;
    world.run(seconds(5));
    assert_eq!(world.led, [0]);
    assert!(world.server.writes > writes);
    assert_eq!(world.leaders(), [0]);
}

#[test]
fn a_lease_taken_by_force_ends_the_leader_at_its_next_write() {
    let mut world = World::new(1);
    world.run(seconds(20));
    let mut lease = world.server.lease.clone().unwrap();
    lease.spec.as_mut().unwrap().holder_identity = Some("somebody".into());
    world.server.keep(&lease);
    world.run(seconds(3));
    assert!(world.leaders().is_empty());
    world.run(seconds(10));
    assert_eq!(world.server.holder(), "somebody");
}

#[test]
fn a_deleted_lease_is_created_anew() {
    let mut world = World::new(2);
    world.run(seconds(20));
    world.server.lease = None;
    world.run(seconds(20));
    assert_eq!(world.leaders().len(), 1);
    assert!(world.server.lease.is_some());
}

#[test]
fn fields_of_others_stay() {
    let mut world = World::new(1);
    let spec = LeaseSpec {
        strategy: Some("OldestEmulationVersion".into()),
        preferred_holder: Some("another".into()),
        lease_transitions: Some(41),
        ..LeaseSpec::default()
    };
    let mut lease = Lease { spec: Some(spec), ..Lease::default() };
    lease.metadata.annotations = Some([("note".into(), "kept".into())].into());
    world.server.keep(&lease);
    world.run(seconds(10));
    let spec = world.server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("pod-0"));
    assert_eq!(spec.strategy.as_deref(), Some("OldestEmulationVersion"));
    assert_eq!(spec.preferred_holder.as_deref(), Some("another"));
    assert_eq!(spec.lease_transitions, Some(42));
    let annotations = world.server.lease.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations["note"], "kept");
}

#[test]
fn a_change_of_anything_but_the_record_does_not_keep_a_holder_alive() {
    let mut world = World::new(2);
    world.run(seconds(20));
    world.processes[0].is_dead = true;
    for _ in 0..24 {
        let lease = world.server.lease.clone().unwrap();
        world.server.keep(&lease);
        world.run(seconds(1));
    }
    assert_eq!(world.led, [0, 1]);
}

#[test]
fn a_follower_looks_between_one_and_two_point_two_times_the_retry() {
    let mut candidate = Candidate::new("system", "leader", "a".into(), TIMING);
    let now = Now { instant: Instant::now(), calendar: Timestamp::UNIX_EPOCH };
    let wait = |candidate: &mut Candidate, chance| {
        let Step::Wait(wait) = candidate.next(now, Answer::Failed, chance) else {
            panic!("a failure is waited out");
        };
        wait.as_millis()
    };
    assert_eq!(wait(&mut candidate, 0.0), 2_000);
    assert_eq!(wait(&mut candidate, 0.5), 3_200);
    assert_eq!(wait(&mut candidate, 1.0), 4_400);
}

#[derive(Clone, Debug)]
enum Fault {
    Pause(usize, u64),
    CutOff(usize, u64),
    Calendar(usize, i64),
    Quiet(u64),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        (0..3_usize, 1..40_u64).prop_map(|(who, length)| Fault::Pause(who, length)),
        (0..3_usize, 1..40_u64).prop_map(|(who, length)| Fault::CutOff(who, length)),
        (0..3_usize, -100_000..100_000_i64).prop_map(|(who, by)| Fault::Calendar(who, by)),
        (1..20_u64).prop_map(Fault::Quiet),
    ];
    proptest::collection::vec(fault, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is paused, cut off or set: at most one leads, and when all is well one does.
    #[test]
    fn at_most_one_leads_whatever_happens(faults in faults(), seed in any::<u64>()) {
        let mut world = World::new(3);
        world.random = seed;
        for fault in faults {
            match fault {
                Fault::Pause(who, length) => {
                    world.processes[who].paused_until = world.at + seconds(length);
                }
                Fault::CutOff(who, length) => {
                    world.processes[who].cut_off_until = world.at + seconds(length);
                }
                Fault::Calendar(who, by) => {
                    world.processes[who].wrong_by = SignedDuration::from_secs(by);
                }
                Fault::Quiet(length) => world.run(seconds(length)),
            }
            world.run(seconds(2));
        }
        world.run(seconds(70));
        prop_assert_eq!(world.leaders().len(), 1);
    }
}
