// SPDX-License-Identifier: MIT

// switch, spawn_task, nursery, timer.
package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func residentBytes() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	check(err)
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return float64(pages * os.Getpagesize())
}

// An await of a child is a plain call here: goroutines have stacks.
//
//go:noinline
func trivial(x int) int { return x }

//go:noinline
func chain(depth int) int {
	if depth == 0 {
		return 0
	}
	return 1 + chain(depth-1)
}

var sink int

func init() {
	jobs["switch"] = func(o options) {
		m := newMeter(o)
		for m.more(10000) {
			for i := 0; i < 10000; i++ {
				sink += trivial(i)
			}
		}
		report("await_ns", m.medianNs())
		m = newMeter(o)
		for m.more(10000) {
			for i := 0; i < 100; i++ {
				sink += chain(100)
			}
		}
		report("chain_ns", m.medianNs())
		stop := false // one thread: GOMAXPROCS=1
		go func() {
			for !stop {
				runtime.Gosched()
			}
		}()
		m = newMeter(o)
		for m.more(20000) {
			for i := 0; i < 10000; i++ {
				runtime.Gosched()
			}
		}
		stop = true
		report("yield_ns", m.medianNs())
	}

	jobs["spawn_task"] = func(o options) {
		m := newMeter(o)
		for m.more(1000) {
			for i := 0; i < 1000; i++ {
				done := make(chan int)
				go func() { done <- i }()
				sink += <-done
			}
		}
		report("ns_per_task", m.medianNs())
	}

	jobs["nursery"] = func(o options) {
		tasks := o.number("tasks", 1000)
		if tasks >= 100000 {
			never := make(chan int)
			runtime.GC()
			before := residentBytes()
			for i := 0; i < tasks; i++ {
				go func() { <-never }()
			}
			for i := 0; i < 10; i++ {
				runtime.Gosched()
			}
			report("bytes_per_task", (residentBytes()-before)/float64(tasks))
			os.Exit(0)
		}
		m := newMeter(o)
		for m.more(10 * tasks) {
			for round := 0; round < 10; round++ {
				var all sync.WaitGroup
				all.Add(tasks)
				for i := 0; i < tasks; i++ {
					go all.Done()
				}
				all.Wait()
			}
		}
		report("ns_per_task", m.medianNs())
	}

	jobs["timer"] = func(o options) {
		m := newMeter(o)
		if o["op"] == "arm_cancel" {
			timers := make([]*time.Timer, o.number("timers", 100000))
			random := uint32(1)
			for m.more(len(timers)) {
				for i := range timers {
					random = random*1664525 + 1013904223
					timers[i] = time.AfterFunc(10*time.Second+time.Duration(random), func() {})
				}
				for _, t := range timers {
					t.Stop()
				}
			}
			report("ns_per_timer", m.medianNs())
			return
		}
		event := make(chan struct{}, 1)
		stop := false
		go func() {
			for !stop {
				select {
				case event <- struct{}{}:
				default:
				}
				runtime.Gosched()
			}
		}()
		for m.more(1000) {
			for i := 0; i < 1000; i++ {
				t := time.NewTimer(time.Second)
				select {
				case <-event:
				case <-t.C:
				}
				t.Stop()
			}
		}
		stop = true
		report("ns_per_wait", m.medianNs())
	}
}
