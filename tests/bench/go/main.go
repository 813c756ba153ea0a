// SPDX-License-Identifier: MIT

// Goroutines, timers and os.Pipe, called like the C++ programs (bench.hpp says how).
// Started with GOMAXPROCS=1.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type options map[string]string

func (o options) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(o[key]); err == nil {
		return n
	}
	return otherwise
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// Median of slices; the first warms up. As bench::meter.
type meter struct {
	budget       time.Duration
	begin, slice time.Time
	warm         bool
	slices       []float64
}

func newMeter(o options) *meter {
	seconds, err := strconv.ParseFloat(o["seconds"], 64)
	if err != nil {
		seconds = 0.15
	}
	return &meter{budget: time.Duration(seconds * 1e9)}
}

func (m *meter) more(operations int) bool {
	t := time.Now()
	if m.begin.IsZero() {
		m.begin = t
	} else if !m.warm {
		m.warm = true
	} else {
		m.slices = append(m.slices, float64(t.Sub(m.slice))/float64(operations))
	}
	if len(m.slices) >= 2048 || len(m.slices) >= 3 && t.Sub(m.begin) > m.budget {
		return false
	}
	m.slice = time.Now()
	return true
}

func (m *meter) medianNs() float64 {
	sort.Float64s(m.slices)
	return m.slices[len(m.slices)/2]
}

func report(metric string, value float64) { fmt.Printf("%s %.6g\n", metric, value) }

func skip(why string) {
	fmt.Println("skip", why)
	os.Exit(0)
}

// cpu=two: this process on the nth of its cpus. Every thread that the runtime has started is moved.
func place(o options, nth int) {
	if o["cpu"] != "two" {
		return
	}
	var all, one [16]uint64
	get, set := uintptr(syscall.SYS_SCHED_GETAFFINITY), uintptr(syscall.SYS_SCHED_SETAFFINITY)
	_, _, e := syscall.RawSyscall(get, 0, unsafe.Sizeof(all), uintptr(unsafe.Pointer(&all)))
	if e != 0 {
		check(e)
	}
	for cpu := 0; cpu < len(all)*64; cpu++ {
		if all[cpu/64]>>(cpu%64)&1 == 0 {
			continue
		}
		if nth--; nth < 0 {
			one[cpu/64] = 1 << (cpu % 64)
			break
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	check(err)
	for _, t := range threads {
		id, _ := strconv.Atoi(t.Name())
		syscall.RawSyscall(set, uintptr(id), unsafe.Sizeof(one), uintptr(unsafe.Pointer(&one)))
	}
}

var jobs = map[string]func(options){}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		for name := range jobs {
			fmt.Println(name, "go")
		}
		return
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(3) })
	o := options{}
	for _, a := range os.Args[3:] {
		key, value, _ := strings.Cut(a, "=")
		o[key] = value
	}
	run, there := jobs[os.Args[1]]
	if !there {
		fmt.Fprintln(os.Stderr, "no job", os.Args[1])
		os.Exit(1)
	}
	run(o)
}
