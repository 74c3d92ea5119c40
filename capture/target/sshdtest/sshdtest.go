// Package sshdtest runs OpenSSH's server for tests, on the loopback with keys of its own, and a proxy before it that loses the
// link or stops answering.
package sshdtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"kdx/capture/config"
	"kdx/capture/target"
)

// Server is a running sshd.
type Server struct {
	Dir        string // an empty directory for dumps
	User       string
	Port       int
	Key        string // private key of the user
	KnownHosts string
	HostKey    ssh.PublicKey
	Authorized string // authorized_keys
	HostFile   string // private host key

	log string
}

// NewKey writes a private key and returns its public one.
func NewKey(t testing.TB, path string) ssh.PublicKey {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "test")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Start runs sshd until the test ends. lines are more of its configuration, and come first.
func Start(t testing.TB, lines ...string) *Server {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		if sshd = "/usr/sbin/sshd"; !exists(sshd) {
			t.Fatal("the tests of SSH targets need OpenSSH's server: apt-get install openssh-server")
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	conf := t.TempDir()
	s := &Server{Dir: filepath.Join(t.TempDir(), "dumps"), User: me.Username, Key: filepath.Join(conf, "id"), KnownHosts: filepath.Join(conf, "known_hosts"),
		Authorized: filepath.Join(conf, "authorized_keys"), HostFile: filepath.Join(conf, "host"), log: filepath.Join(conf, "log")}
	s.HostKey = NewKey(t, s.HostFile)
	write(t, s.Authorized, string(ssh.MarshalAuthorizedKey(NewKey(t, s.Key))))
	s.Port = freePort(t)
	write(t, s.KnownHosts, KnownLine(s.Port, s.HostKey))
	text := ""
	for _, l := range lines { // the first of a kind counts
		text += l + "\n"
	}
	text += fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nLogLevel ERROR\n",
		s.Port, s.HostFile, s.Authorized)
	write(t, filepath.Join(conf, "sshd_config"), text)
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // which sshd of root insists on
			t.Fatal(err)
		}
	}
	cmd := exec.Command(sshd, "-D", "-E", s.log, "-f", filepath.Join(conf, "sshd_config"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		if err == nil {
			c.Close()
			return s
		}
		time.Sleep(25 * time.Millisecond)
	}
	said, _ := os.ReadFile(s.log)
	t.Fatalf("sshd does not listen; it said: %s", said)
	return nil
}

// SFTP is the line of the configuration that offers sftp.
const SFTP = "Subsystem sftp internal-sftp"

// KnownLine is a line of known_hosts for 127.0.0.1.
func KnownLine(port int, key ssh.PublicKey) string {
	return fmt.Sprintf("[127.0.0.1]:%d %s", port, ssh.MarshalAuthorizedKey(key))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Place is the server as a target.
func (s *Server) Place(kind config.Kind) target.Place {
	return target.Place{Name: fmt.Sprintf("%s://%s@127.0.0.1:%d%s", kind, s.User, s.Port, s.Dir), Kind: kind, Dir: s.Dir,
		Host: target.Host{User: s.User, Name: "127.0.0.1", Port: s.Port, Key: s.Key, KnownHosts: s.KnownHosts, Timeout: 20 * time.Second}}
}

// Proxy stands between a client and a server.
type Proxy struct {
	Port int
	// Limit is after how many bytes from the client, of all connections, something happens; 0 is never.
	Limit atomic.Int64
	// Hang stops passing anything on then; otherwise the link is lost.
	Hang atomic.Bool

	passed atomic.Int64
	mu     sync.Mutex
	conns  []net.Conn
}

// Proxy starts a proxy before the server and tells known_hosts of it.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Port: l.Addr().(*net.TCPAddr).Port}
	known, err := os.ReadFile(s.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.KnownHosts, string(known)+KnownLine(p.Port, s.HostKey))
	go p.serve(l, s.Port)
	t.Cleanup(func() {
		l.Close()
		p.Close()
	})
	return p
}

func (p *Proxy) serve(l net.Listener, port int) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		go p.pass(out, in, true)
		go p.pass(in, out, false)
	}
}

func (p *Proxy) pass(to, from net.Conn, counted bool) {
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if counted {
			p.passed.Add(int64(n))
		}
		if limit := p.Limit.Load(); limit > 0 && p.passed.Load() > limit {
			if !p.Hang.Load() {
				p.Close()
				return
			}
			io.Copy(io.Discard, from) // it takes what comes, and nothing goes on
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// Close ends all connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// Place is the target through the proxy.
func (p *Proxy) Place(s *Server, kind config.Kind) target.Place {
	place := s.Place(kind)
	place.Host.Port = p.Port
	place.Host.Timeout = 3 * time.Second
	return place
}
