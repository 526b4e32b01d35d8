//! Starting many realms: a thousand without needs, and ten layers of a hundred in order.

use std::collections::BTreeMap;
use std::time::Duration;

use heartbeat_probe::clock;
use heartbeat_status::Instant;
use nix::sys::signal::Signal;

use crate::bed::{self, Bed, Stamp, Times, await_stamps, command, head};

const REALMS: usize = 1_000;
const LAYERS: usize = 10;
/// Needs of a realm in the layer before.
const NEEDS: usize = 3;
const ROUNDS: usize = 5;

fn last(stamps: &[Stamp]) -> Instant {
    stamps.iter().map(|stamp| stamp.at).max().unwrap()
}

fn floor(bed: &Bed, round: usize) -> Duration {
    let stamps = bed.path(&format!("many{round}.stamps"));
    let before = clock::now();
    let many = command(bed.path("many")).args([&REALMS.to_string(), &bed.path("child"), &stamps]).spawn();
    let many = bed::Running(many.unwrap());
    let seen = await_stamps(&stamps, REALMS);
    let took = last(&seen).since(before);
    drop(many);
    for stamp in seen {
        bed::signal(stamp.pid, Signal::SIGKILL);
    }
    took
}

/// Realms `0..REALMS`; `needs` says whom each needs. How long it took, and how many stamps are older than that of
/// something needed: a stamp is written after the exec it is about, when the scheduler lets it.
fn with_daemon(bed: &Bed, name: &str, needs: &dyn Fn(usize) -> Vec<usize>) -> (Duration, usize) {
    let stamps = bed.path(&format!("{name}.stamps"));
    let child = bed.path("child");
    let realm = |at: usize| {
        let needs: Vec<String> =
            needs(at).iter().map(|need| format!("{{ realm = \"r{need}\", until = \"started\" }}")).collect();
        format!(
            "[realm.r{at}]\nrun = [\"{child}\", \"{stamps}\", \"{at}\"]\nlog = {{ to = \"none\" }}\nneeds = [{}]\n",
            needs.join(", ")
        )
    };
    let realms: String = (0..REALMS).map(realm).collect();
    let before = clock::now();
    let daemon = bed.daemon(None, &realms);
    let seen = await_stamps(&stamps, REALMS);
    let took = last(&seen).since(before);
    let at: BTreeMap<usize, Instant> =
        seen.iter().map(|stamp| (stamp.name.parse().unwrap(), stamp.at)).collect();
    let inverted = (0..REALMS).flat_map(|realm| needs(realm).into_iter().map(move |need| (realm, need)));
    let inverted = inverted.filter(|(realm, need)| at[realm] < at[need]).count();
    drop(daemon);
    (took, inverted)
}

/// The same with dinit; `None` where it is not installed.
fn with_dinit(bed: &Bed, name: &str, needs: &dyn Fn(usize) -> Vec<usize>) -> Option<Duration> {
    let stamps = bed.path(&format!("{name}.stamps"));
    let child = bed.path("child");
    let service = |at: usize| {
        let needs: String = needs(at).iter().map(|need| format!("depends-on: r{need}\n")).collect();
        (format!("r{at}"), format!("type = process\ncommand = {child} {stamps} {at}\n{needs}"))
    };
    let all: String = (0..REALMS).map(|at| format!("waits-for: r{at}\n")).collect();
    let boot = ("all".to_owned(), format!("type = internal\n{all}"));
    let services: Vec<(String, String)> = (0..REALMS).map(service).chain([boot]).collect();
    let before = clock::now();
    let dinit = bed.dinit(&services, "all")?;
    let seen = await_stamps(&stamps, REALMS);
    let took = last(&seen).since(before);
    drop(dinit);
    Some(took)
}

pub(crate) fn measure() {
    let bed = Bed::new();
    let (mut bare, mut flat, mut layered) = (Times::default(), Times::default(), Times::default());
    let (mut dinit_flat, mut dinit_layered) = (Times::default(), Times::default());
    let mut late = 0;
    let width = REALMS / LAYERS;
    let layer = |at: usize| {
        let (layer, place) = (at / width, at % width);
        (0..NEEDS).filter(|_| layer > 0).map(|n| (layer - 1) * width + (place + n * 7) % width).collect()
    };
    for round in 0..ROUNDS {
        bare.push(floor(&bed, round));
        flat.push(with_daemon(&bed, &format!("flat{round}"), &|_| Vec::new()).0);
        let (took, inverted) = with_daemon(&bed, &format!("layers{round}"), &layer);
        layered.push(took);
        late += inverted;
        with_dinit(&bed, &format!("dinit{round}"), &|_| Vec::new())
            .into_iter()
            .for_each(|took| dinit_flat.push(took));
        with_dinit(&bed, &format!("dinit-layers{round}"), &layer)
            .into_iter()
            .for_each(|took| dinit_layered.push(took));
    }
    head("Start of 1,000 realms: from the start of heartbeatd to the last exec", "the loop in C");
    println!("{}", bare.row("loop in C: vfork, exec", &bare));
    if dinit_flat.len() > 0 {
        println!("{}", dinit_flat.row("dinit, 1,000 independent services", &bare));
        println!("{}", dinit_layered.row("dinit, 10 layers of 100, 3 needs each", &bare));
    }
    println!("{}", flat.row("heartbeatd, 1,000 independent realms", &bare));
    println!("{}", layered.row("heartbeatd, 10 layers of 100, 3 needs each, until started", &bare));
    let edges = (REALMS - width) * NEEDS * ROUNDS;
    println!("\nOf {edges} edges, {late} have a stamp of the dependent before that of what it needs.");
}
