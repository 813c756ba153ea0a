// SPDX-License-Identifier: MIT

//! tokio on its current-thread runtime, called like the C++ programs (bench.hpp says how).

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{spawn, yield_now, LocalSet};

type Options = HashMap<String, String>;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// For jobs that need no kernel: with its drivers on, each turn of yields polls epoll.
fn tasks_only() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Median of slices; the first warms up. As bench::meter.
struct Meter {
    budget: Duration,
    begin: Option<Instant>,
    slice: Instant,
    warm: bool,
    slices: Vec<f64>,
}

impl Meter {
    fn new(o: &Options) -> Meter {
        let seconds = o.get("seconds").map_or(0.15, |s| s.parse().unwrap());
        let budget = Duration::from_secs_f64(seconds);
        Meter { budget, begin: None, slice: Instant::now(), warm: false, slices: vec![] }
    }
    fn more(&mut self, operations: usize) -> bool {
        let t = Instant::now();
        match self.begin {
            None => self.begin = Some(t),
            _ if !self.warm => self.warm = true,
            _ => self.slices.push((t - self.slice).as_nanos() as f64 / operations as f64),
        }
        let n = self.slices.len();
        if n >= 2048 || n >= 3 && t - self.begin.unwrap() > self.budget {
            return false;
        }
        self.slice = Instant::now();
        true
    }
    fn median_ns(mut self) -> f64 {
        self.slices.sort_by(f64::total_cmp);
        self.slices[self.slices.len() / 2]
    }
}

fn report(metric: &str, value: f64) {
    println!("{metric} {value:.1}");
}

fn skip(why: &str) -> ! {
    println!("skip {why}");
    std::process::exit(0)
}

fn number(o: &Options, key: &str, otherwise: usize) -> usize {
    o.get(key).map_or(otherwise, |s| s.parse().unwrap())
}

#[inline(never)]
async fn trivial(x: usize) -> usize {
    x
}

fn chain(depth: usize) -> Pin<Box<dyn Future<Output = usize>>> {
    Box::pin(async move { if depth == 0 { 0 } else { 1 + chain(depth - 1).await } })
}

fn switch(o: &Options) {
    let mut sum = 0;
    LocalSet::new().block_on(&tasks_only(), async {
        // Boxed as chain is: an inlined future would be no await at all.
        let mut m = Meter::new(o);
        while m.more(10000) {
            for i in 0..10000 {
                let child: Pin<Box<dyn Future<Output = usize>>> = Box::pin(trivial(i));
                sum += std::hint::black_box(child).await;
            }
        }
        report("await_ns", m.median_ns());
        let mut m = Meter::new(o);
        while m.more(10000) {
            for _ in 0..100 {
                sum += chain(100).await;
            }
        }
        report("chain_ns", m.median_ns());
    });
    std::hint::black_box(sum);
    let options = o.clone();
    tasks_only().block_on(async {
        // Both sides are spawned tasks: block_on's own future is polled on another path.
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = stop.clone();
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let along = spawn(async move {
            while !seen.load(relaxed) {
                yield_now().await;
            }
        });
        let measured = spawn(async move {
            let mut m = Meter::new(&options);
            while m.more(20000) {
                for _ in 0..10000 {
                    yield_now().await;
                }
            }
            stop.store(true, relaxed);
            report("yield_ns", m.median_ns());
        });
        measured.await.unwrap();
        along.await.unwrap();
    });
}

fn spawn_task(o: &Options) {
    tasks_only().block_on(async {
        let mut m = Meter::new(o);
        while m.more(1000) {
            for i in 0..1000 {
                spawn(async move { i }).await.unwrap();
            }
        }
        report("ns_per_task", m.median_ns());
    });
}

fn nursery(o: &Options) {
    let tasks = number(o, "tasks", 1000);
    tasks_only().block_on(async {
        if tasks >= 100000 {
            let never = std::sync::Arc::new(Notify::new());
            let before = resident_bytes();
            for _ in 0..tasks {
                let n = never.clone();
                spawn(async move { n.notified().await });
            }
            yield_now().await;
            yield_now().await;
            for _ in 0..tasks / 50 {
                // The runtime polls a few dozen tasks between two polls of this future.
                yield_now().await;
            }
            report("bytes_per_task", (resident_bytes() - before) / tasks as f64);
            std::process::exit(0);
        }
        let mut m = Meter::new(o);
        while m.more(10 * tasks) {
            for _ in 0..10 {
                let all: Vec<_> = (0..tasks).map(|i| spawn(async move { i })).collect();
                for t in all {
                    t.await.unwrap();
                }
            }
        }
        report("ns_per_task", m.median_ns());
    });
}

fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

fn timer(o: &Options) {
    if o["op"] == "arm_cancel" {
        return arm_and_cancel(o);
    }
    let stop = Rc::new(Cell::new(false));
    let event = Rc::new(Notify::new());
    LocalSet::new().block_on(&runtime(), async {
        let (seen, set) = (stop.clone(), event.clone());
        let setter = tokio::task::spawn_local(async move {
            while !seen.get() {
                set.notify_waiters();
                yield_now().await;
            }
        });
        let mut m = Meter::new(o);
        while m.more(1000) {
            for _ in 0..1000 {
                tokio::time::timeout(Duration::from_secs(1), event.notified()).await.unwrap();
            }
        }
        report("ns_per_wait", m.median_ns());
        stop.set(true);
        setter.await.unwrap();
    });
}

fn arm_and_cancel(o: &Options) {
    let count = number(o, "timers", 100000);
    runtime().block_on(async {
        let mut random = 1u32;
        let mut m = Meter::new(o);
        while m.more(count) {
            let base = tokio::time::Instant::now() + Duration::from_secs(10);
            let mut timers: Vec<_> = (0..count)
                .map(|_| {
                    random = random.wrapping_mul(1664525).wrapping_add(1013904223);
                    Box::pin(tokio::time::sleep_until(base + Duration::from_nanos(random.into())))
                })
                .collect();
            // A Sleep is in the wheel only once polled.
            std::future::poll_fn(|cx| {
                for t in &mut timers {
                    let _ = t.as_mut().poll(cx);
                }
                std::task::Poll::Ready(())
            })
            .await;
            drop(timers);
        }
        report("ns_per_timer", m.median_ns());
    });
}

/// The other side is this program started again, with a socket as standard input.
fn fd_pingpong(o: &Options) {
    if o["link"] == "pipe" {
        skip("this tokio has no pipes");
    }
    let mut message = [0u8; 64];
    if o.get("role").map(String::as_str) == Some("child") {
        use std::os::fd::FromRawFd;
        let raw = unsafe { std::os::unix::net::UnixStream::from_raw_fd(0) };
        raw.set_nonblocking(true).unwrap();
        return runtime().block_on(async {
            let mut s = tokio::net::UnixStream::from_std(raw).unwrap();
            while s.read_exact(&mut message).await.is_ok() && s.write_all(&message).await.is_ok() {}
        });
    }
    let (mine, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let me = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(&me);
    if o["cpu"] == "two" {
        // Without a binding of sched_setaffinity, taskset moves this process and starts the other.
        let (first, second) = two_cpus();
        let id = std::process::id().to_string();
        let quiet = std::process::Stdio::null();
        let mut mover = std::process::Command::new("taskset");
        let moved = mover.args(["-acp", &first, &id]).stdout(quiet).status();
        assert!(moved.expect("taskset of util-linux").success());
        command = std::process::Command::new("taskset");
        command.args(["-c", &second]).arg(&me);
    }
    command.args(std::env::args().skip(1)).arg("role=child");
    let mut child = command.stdin(std::os::fd::OwnedFd::from(other)).spawn().unwrap();
    drop(command); // and with it this process's copy of the other end
    mine.set_nonblocking(true).unwrap();
    runtime().block_on(async {
        let mut s = tokio::net::UnixStream::from_std(mine).unwrap();
        let mut m = Meter::new(o);
        while m.more(200) {
            for _ in 0..200 {
                s.write_all(&message).await.unwrap();
                s.read_exact(&mut message).await.unwrap();
            }
        }
        report("roundtrip_ns", m.median_ns());
    });
    assert!(child.wait().unwrap().success());
}

fn two_cpus() -> (String, String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap();
    let mut cpus = list.trim().split(',').flat_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        from.parse::<u32>().unwrap()..=to.parse::<u32>().unwrap()
    });
    (cpus.next().unwrap().to_string(), cpus.next().unwrap().to_string())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let jobs: [(&str, fn(&Options)); 5] = [
        ("switch", switch),
        ("spawn_task", spawn_task),
        ("nursery", nursery),
        ("timer", timer),
        ("fd_pingpong", fd_pingpong),
    ];
    if args.len() == 2 {
        for (name, _) in jobs {
            println!("{name} tokio");
        }
        return;
    }
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(30));
        std::process::exit(3)
    });
    let options = args[3..].iter().map(|a| a.split_once('=').unwrap());
    let options = options.map(|(k, v)| (k.to_string(), v.to_string())).collect();
    jobs.iter().find(|j| j.0 == args[1]).expect("no such job").1(&options)
}
