package redisstore_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
)

// A broker on Redis Streams, one of as many as there are processes like this.
func Example() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()
	store, err := redisstore.Open(ctx, client, &redisstore.Options{MaxAge: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	b := broker.New(&broker.Options{Store: store})
	defer b.Close()

	http.Handle("GET /events", b)
	log.Fatal(http.ListenAndServe("localhost:8080", nil))
}
