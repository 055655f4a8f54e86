package h2

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// directMax is the largest read or write that is direct, in bytes. One of so many
// takes some 20 µs, for which the garbage collector may have to wait.
const directMax = 64 << 10

// A direct is a TCP connection whose reads and writes are system calls that the
// scheduler is not told of: the socket doesn't block, so there is nothing that it
// could do meanwhile, and telling it costs a seventh of a request that comes alone.
// Who has to wait for the socket waits as ever. It has one reader and one writer at
// a time.
type direct struct {
	*net.TCPConn
	sock syscall.RawConn

	in      []byte // what Read reads into
	n       int    // how much it got
	readErr syscall.Errno
	read    func(fd uintptr) (done bool)

	out      []byte // what Write has not written yet
	writeErr syscall.Errno
	write    func(fd uintptr) (done bool)
}

// directly returns nc, or the same connection with direct reads and writes.
func directly(nc net.Conn) net.Conn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	sock, err := t.SyscallConn()
	if err != nil {
		return nc // closed: its reads will say so
	}
	d := &direct{TCPConn: t, sock: sock}
	d.read, d.write = d.readSome, d.writeAll
	return d
}

// Read is net.Conn's, for one caller at a time.
func (d *direct) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	d.in, d.n, d.readErr = b[:min(len(b), directMax)], 0, 0
	err := d.sock.Read(d.read)
	d.in = nil
	switch {
	case err != nil:
		return 0, err //nolint:wrapcheck // the connection's own error, as net.Conn's Read has it
	case d.readErr != 0:
		return 0, os.NewSyscallError("read", d.readErr)
	case d.n == 0:
		return 0, io.EOF
	default:
		return d.n, nil
	}
}

// Write is net.Conn's, for one caller at a time.
func (d *direct) Write(b []byte) (int, error) {
	if len(b) > directMax {
		return d.TCPConn.Write(b) //nolint:wrapcheck // as above
	}
	d.out, d.writeErr = b, 0
	err := d.sock.Write(d.write)
	n := len(b) - len(d.out)
	d.out = nil
	if err == nil && d.writeErr != 0 {
		err = os.NewSyscallError("write", d.writeErr)
	}
	return n, err //nolint:wrapcheck // as above
}

func (d *direct) readSome(fd uintptr) (done bool) {
	for {
		n, errno := transfer(syscall.SYS_READ, fd, d.in)
		switch errno {
		case 0:
			d.n = n
			return true
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			d.readErr = errno
			return true
		}
	}
}

func (d *direct) writeAll(fd uintptr) (done bool) {
	for len(d.out) > 0 {
		n, errno := transfer(syscall.SYS_WRITE, fd, d.out)
		switch errno {
		case 0:
			d.out = d.out[n:]
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			d.writeErr = errno
			return true
		}
	}
	return true
}

// transfer is read(2) or write(2) of b, which is not empty.
func transfer(call, fd uintptr, b []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // as package unsafe says how
	return int(r), errno
}
