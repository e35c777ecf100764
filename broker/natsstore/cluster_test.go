package natsstore_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
)

// startCluster starts three servers that are one engine.
func startCluster(t *testing.T) (engines []*engine, urls string) {
	const size = 3
	var routes []*url.URL
	var ports []int
	for range size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		require.NoError(t, l.Close())
	}
	for i := range size {
		e := &engine{t: t, options: server.Options{
			ServerName: fmt.Sprint("server-", i),
			Host:       "127.0.0.1", Port: server.RANDOM_PORT,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]},
			Routes:  routes, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, MaxPayload: 2 << 20,
			JetStreamMaxStore: maxStore,
		}}
		e.start()
		e.options.Port = e.running.Addr().(*net.TCPAddr).Port
		t.Cleanup(e.stop)
		engines = append(engines, e)
	}
	var all []string
	for _, e := range engines {
		all = append(all, e.url())
	}
	require.True(t, waitFor(20*time.Second, func() bool {
		for _, e := range engines {
			if !e.running.JetStreamIsCurrent() {
				return false
			}
		}
		return true
	}), "the cluster does not form")
	return engines, strings.Join(all, ",")
}

func TestAClusterThatLosesAServerLosesNoEvent(t *testing.T) {
	t.Parallel()
	const clients, events = 4, 300
	engines, urls := startCluster(t)
	opts := natsstore.Options{Name: newName(), Replicas: len(engines)}
	var brokers []*broker.Broker
	var js jetstream.JetStream
	for range 2 {
		js = connect(t, urls)
		var s *natsstore.Store
		require.True(t, waitFor(20*time.Second, func() (ok bool) {
			var err error
			s, err = natsstore.Open(t.Context(), js, &opts)
			return err == nil
		}), "the cluster makes no stream")
		brokers = append(brokers, newBroker(t, s))
	}
	start := publish(t, brokers[0], 0, 0)[0]
	got, errs := make([][]string, clients), make([]error, clients)
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(clients, func(i int) { got[i], errs[i] = hop(t.Context(), brokers, start, events, 10+i*30) })
	}()
	for i := 1; i <= events; i += 10 {
		publish(t, brokers[i%2], i, i+9)
		switch i {
		case 101:
			leaderOf(t, js, opts.Name, engines).stop()
		case 201:
			for _, e := range engines {
				if !e.running.Running() {
					e.start()
				}
			}
		}
	}
	<-done
	require.NoError(t, errors.Join(errs...))
	for i := range got {
		assert.Equal(t, numbers(1, events), got[i])
	}
}

// leaderOf returns the server that leads the stream, which is to be killed.
func leaderOf(t *testing.T, js jetstream.JetStream, name string, engines []*engine) *engine {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	require.NoError(t, err)
	for _, e := range engines {
		if e.options.ServerName == stream.CachedInfo().Cluster.Leader {
			return e
		}
	}
	t.Fatal("the stream has no leader")
	return nil
}
