package browser

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// An nginx is a proxy for a site. It runs in a temporary folder.
type nginx struct {
	t      *testing.T
	path   string
	config string
	addr   string
	end    func(os.Signal)
}

// newNginx returns a running nginx whose location / is the proxy_pass and
// whatever more it is given.
func newNginx(t *testing.T, upstream, more string) *nginx {
	t.Helper()
	n := &nginx{t: t, path: program(t, "nginx", "nginx-light"), addr: vacant(t)}
	dir := t.TempDir()
	// Started by root, its workers are nobody who may look into root's folders.
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	site := fmt.Sprintf(`server {
	listen %s;
	location / {
		proxy_pass http://%s;
		%s
	}
}
`, n.addr, upstream, more)
	n.config = filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "site.conf"), []byte(site), 0o644))
	require.NoError(t, os.WriteFile(n.config, []byte(relocated(t, dir)), 0o644))
	n.start()
	return n
}

// relocated returns the configuration that Debian installs, with its one site
// and all that nginx writes in dir. Nothing else is changed, for a default that
// gets in the way of streams is what the tests are after.
func relocated(t *testing.T, dir string) string {
	t.Helper()
	config, err := os.ReadFile("/etc/nginx/nginx.conf")
	require.NoError(t, err)
	sites := fmt.Sprintf(`include %s/site.conf;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;`, dir)
	for _, change := range []struct{ line, by string }{
		{`(?m)^\s*pid .*;`, "pid " + dir + "/pid;"},
		{`(?m)^\s*error_log .*;`, "error_log " + dir + "/error.log;"},
		{`(?m)^\s*access_log .*;`, "access_log " + dir + "/access.log;"},
		{`(?m)^\s*include /etc/nginx/sites-enabled/\*;`, sites},
	} {
		pattern := regexp.MustCompile(change.line)
		require.Len(t, pattern.FindAll(config, -1), 1, change.line)
		config = pattern.ReplaceAllLiteral(config, []byte(change.by))
	}
	return string(config)
}

// start starts it, on the address that it had before.
func (n *nginx) start() {
	n.t.Helper()
	cmd := command(n.t, n.path, "-c", n.config, "-e", filepath.Join(filepath.Dir(n.config), "error.log"), "-g", "daemon off;")
	cmd.Stderr = os.Stderr
	n.end = start(n.t, cmd)
	await(n.t, func() bool {
		conn, err := net.Dial("tcp", n.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (n *nginx) url() string { return "http://" + n.addr + "/events" }
