// SPDX-License-Identifier: MIT

// fd_pingpong, and over pipes ipc_pingpong and ipc_stream, with this program started again as the
// other side. Pipes of os.Pipe wait in the netpoller; the child does the same with what it got.
package main

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

func init() {
	jobs["fd_pingpong"] = func(o options) { between(o, echo, ping) }
	jobs["ipc_pingpong"] = func(o options) {
		o["link"] = "pipe"
		between(o, echo, ping)
	}
	jobs["ipc_stream"] = func(o options) {
		o["link"] = "pipe"
		between(o, swallow, stream)
	}
}

// Each gets the end to read from and the one to write to.
type side func(options, *os.File, *os.File)

func read(in *os.File, message []byte) bool {
	_, err := io.ReadFull(in, message)
	return err == nil
}

func write(out *os.File, message []byte) {
	_, err := out.Write(message)
	check(err)
}

func echo(o options, in, out *os.File) {
	for message := make([]byte, o.number("msg", 64)); read(in, message); {
		write(out, message)
	}
}

func ping(o options, in, out *os.File) {
	message := make([]byte, o.number("msg", 64))
	m := newMeter(o)
	for m.more(200) {
		for i := 0; i < 200; i++ {
			write(out, message)
			if !read(in, message) {
				panic("the other side left")
			}
		}
	}
	report("roundtrip_ns", m.medianNs())
}

// As bench::one_way_count.
func oneWayCount(size int) int {
	if size <= 1024 {
		return 20000
	}
	if size <= 65536 {
		return 1000
	}
	return 60
}

func swallow(o options, in, out *os.File) {
	message := make([]byte, o.number("msg", 64))
	for i := 1; read(in, message); i++ {
		if i%oneWayCount(len(message)) == 0 {
			write(out, message[:1])
		}
	}
}

func stream(o options, in, out *os.File) {
	message := make([]byte, o.number("msg", 64))
	count, m := oneWayCount(len(message)), newMeter(o)
	for m.more(count) {
		for i := 0; i < count; i++ {
			write(out, message)
		}
		if !read(in, make([]byte, 1)) {
			panic("the other side left")
		}
	}
	report("msgs_per_s", 1e9/m.medianNs())
}

// Non-blocking before NewFile: only then does Go use its poller.
func file(fd int, name string) *os.File {
	check(syscall.SetNonblock(fd, true))
	return os.NewFile(uintptr(fd), name)
}

func between(o options, theirs, mine side) {
	if o["role"] == "child" {
		place(o, 1)
		in := file(3, "in")
		out := in
		if o["link"] == "pipe" {
			out = file(4, "out")
		}
		theirs(o, in, out)
		return
	}
	args := append([]string{}, os.Args[1:]...)
	child := exec.Command("/proc/self/exe", append(args, "role=child")...)
	child.Stderr = os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var in, out *os.File
	if o["link"] == "pipe" {
		childIn, mineOut, err := os.Pipe()
		check(err)
		mineIn, childOut, err := os.Pipe()
		check(err)
		child.ExtraFiles = []*os.File{childIn, childOut}
		in, out = mineIn, mineOut
	} else {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		check(err)
		child.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "child")}
		in = file(pair[0], "mine")
		out = in
	}
	check(child.Start())
	for _, f := range child.ExtraFiles {
		f.Close()
	}
	place(o, 0)
	mine(o, in, out)
	out.Close()
	in.Close()
	check(child.Wait())
}
