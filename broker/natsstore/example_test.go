package natsstore_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
)

// A broker on NATS JetStream, one of as many as there are processes like this.
func Example() {
	ctx := context.Background()
	nc, err := nats.Connect("nats://localhost:4222", nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	store, err := natsstore.Open(ctx, js, &natsstore.Options{MaxAge: 24 * time.Hour, Replicas: 3})
	if err != nil {
		log.Fatal(err)
	}
	b := broker.New(&broker.Options{Store: store})
	defer b.Close()

	http.Handle("GET /events", b)
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}
