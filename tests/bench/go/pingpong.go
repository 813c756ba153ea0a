// SPDX-License-Identifier: MIT

// fd_pingpong with this program started again as the other side. Pipes of os.Pipe wait in the
// netpoller; the child does the same with what it was given.
package main

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

func init() { jobs["fd_pingpong"] = pingpong }

// Non-blocking before NewFile: only then does Go use its poller.
func file(fd int, name string) *os.File {
	check(syscall.SetNonblock(fd, true))
	return os.NewFile(uintptr(fd), name)
}

func pingpong(o options) {
	message := make([]byte, 64)
	if o["role"] == "child" {
		place(o, 1)
		in := file(3, "in")
		out := in
		if o["link"] == "pipe" {
			out = file(4, "out")
		}
		for {
			if _, err := io.ReadFull(in, message); err != nil {
				return
			}
			if _, err := out.Write(message); err != nil {
				return
			}
		}
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
	m := newMeter(o)
	for m.more(200) {
		for i := 0; i < 200; i++ {
			_, err := out.Write(message)
			check(err)
			_, err = io.ReadFull(in, message)
			check(err)
		}
	}
	report("roundtrip_ns", m.medianNs())
	out.Close()
	in.Close()
	check(child.Wait())
}
