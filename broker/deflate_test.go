package broker

import (
	"bytes"
	"compress/gzip"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// ofSize returns n bytes, random ones or some that repeat.
func ofSize(rnd *rand.Rand, n int) []byte {
	p := make([]byte, n)
	letters := 1 + rnd.IntN(256)
	for i := range p {
		p[i] = byte(rnd.IntN(letters))
	}
	return p
}

// batchOf returns a batch of an event that is encoded as p.
func batchOf(p []byte) *batch {
	b := new(batch).with(&frame{data: p, event: sse.Event{}})
	b.ready()
	return b
}

func TestAChecksumIsThatOfAllBytesHoweverTheyAreCountedIn(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var sum checksum
		var all []byte
		for range rnd.IntN(8) {
			p := ofSize(rnd, rnd.IntN(1<<rnd.IntN(14)))
			if all = append(all, p...); rnd.IntN(2) == 0 || len(p) == 0 {
				sum.add(p)
			} else {
				b := batchOf(p)
				sum.join(b, b.deflate())
			}
		}
		require.Equal(t, checksum{crc32.ChecksumIEEE(all), uint32(len(all))}, sum)
	}
}

func FuzzAChecksumOfTwoPartsIsThatOfTheWhole(f *testing.F) {
	f.Add([]byte("one"), []byte("another"))
	f.Add([]byte{}, []byte{0, 0, 0})
	f.Add([]byte{0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, one, another []byte) {
		crc := multiply(powerOf(len(another)), crc32.ChecksumIEEE(one)) ^ crc32.ChecksumIEEE(another)
		assert.Equal(t, crc32.ChecksumIEEE(append(one[:len(one):len(one)], another...)), crc)
	})
}

func TestDeflatedPartsStandInAnyStreamAndAreHandedOutAtOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var parts, packed [][]byte
	for i := range 40 {
		part := ofSize(rnd, 1+rnd.IntN(1<<(i%18)))
		parts = append(parts, part)
		packed = append(packed, appendDeflated(nil, part))
	}
	for range 20 {
		stream := new(fed)
		stream.WriteString(gzipHeader)
		r, err := gzip.NewReader(stream)
		require.NoError(t, err)
		r.Multistream(false) // nothing follows
		var sum checksum
		for _, i := range rnd.Perm(len(parts)) {
			sum.add(parts[i])
			stream.Write(packed[i])
			p := make([]byte, len(parts[i]))
			_, err := io.ReadFull(r, p)
			require.NoError(t, err)
			require.True(t, bytes.Equal(parts[i], p))
		}
		stream.Write(sum.trailer())
		_, err = r.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err, "the checksum is right")
	}
}

// fed is a stream of which no more than this has arrived.
type fed struct{ bytes.Buffer }

func (f *fed) Read(p []byte) (int, error) {
	if f.Len() == 0 {
		return 0, errors.New("it wants to see more first")
	}
	return f.Buffer.Read(p)
}

func TestWhatDoesNotShrinkIsStored(t *testing.T) {
	const overhead = 10 // bytes: a header and the marker
	rnd := rand.New(rand.NewPCG(5, 6))
	for size := range 3_000 {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		require.LessOrEqual(t, len(appendDeflated(nil, p)), size+overhead)
	}
	assert.Less(t, len(appendDeflated(nil, bytes.Repeat([]byte("word "), 100))), 60)
}

func TestABatchIsCompressedOnceForAllWhoWantIt(t *testing.T) {
	b := batchOf([]byte(strings.Repeat("data: x\n\n", 10_000)))
	var forms [8]*deflated
	var wg sync.WaitGroup
	for i := range forms {
		wg.Go(func() { forms[i] = b.deflate() })
	}
	wg.Wait()
	for _, form := range forms {
		assert.Same(t, forms[0], form)
		assert.Same(t, &forms[0].data[0], &form.data[0])
	}
}
