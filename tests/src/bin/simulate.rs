//! Runs seeds of the simulator.
#![allow(clippy::print_stdout)]
use paxos_tests::simulation::{Plan, run_as};
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|s| s.parse().expect("n")).collect();
    if a.len() == 1 {
        let r = paxos_tests::simulation::run_telling(a[0], Plan::with_the_usual, &mut |l| {
            println!("{l}")
        });
        println!("{r:?}");
        return;
    }
    for s in a[0]..a[1] {
        let r = run_as(s, Plan::with_the_usual);
        println!("{s} {r:?}");
    }
}
