package main

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"time"
)

// Access is how the brokers are reached: with TLS and a password, or with neither.
type Access struct {
	brokers        []string
	tls            *tls.Config
	user, password string
}

// broker is a connection to one broker.
type broker struct{ conn net.Conn }

// The requests of Kafka's protocol that a reader needs.
const (
	fetch        = 1
	listOffsets  = 2
	metadata     = 3
	handshake    = 17
	authenticate = 36
)

func (a Access) dial(address string) (*broker, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if a.tls != nil {
		config := a.tls.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
		conn = tls.Client(conn, config)
	}
	b := &broker{conn}
	if a.user != "" {
		err = b.scram(a.user, a.password)
	}
	return b, err
}

// ask sends a request and gives the answer to it.
func (b *broker) ask(api, version int16, body []byte) (*decoder, error) {
	request := binary.BigEndian.AppendUint32(nil, uint32(len(body)+10))
	request = binary.BigEndian.AppendUint16(request, uint16(api))
	request = binary.BigEndian.AppendUint16(request, uint16(version))
	request = append(request, 0, 0, 0, 0, 0xff, 0xff) // the number of the request; no name of the client
	b.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := b.conn.Write(append(request, body...)); err != nil {
		return nil, err
	}
	size := make([]byte, 4)
	if _, err := io.ReadFull(b.conn, size); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size))
	_, err := io.ReadFull(b.conn, answer)
	d := &decoder{rest: answer}
	d.bytes(4)
	return d, err
}

// What Kafka writes: numbers of a fixed size, and texts behind theirs; a negative size is null.

func (d *decoder) fixed(size int) (n int64) {
	for i, b := range d.bytes(int64(size)) {
		if i == 0 {
			n = int64(int8(b))
		} else {
			n = n<<8 | int64(b)
		}
	}
	return n
}

func (d *decoder) short() string { return string(d.bytes(max(d.fixed(2), 0))) }

func (d *decoder) errorCode(what string) {
	if code := d.fixed(2); code != 0 {
		d.fail("%s: Kafka's error %d", what, code)
	}
}

func short(text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

func long(text []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// scram signs in with SCRAM-SHA-512 (RFC 5802), and checks that the broker knows the password, too.
func (b *broker) scram(user, password string) error {
	d, err := b.ask(handshake, 1, short("SCRAM-SHA-512"))
	if err != nil {
		return err
	}
	d.errorCode("SCRAM-SHA-512")
	say := func(text string) string {
		if err == nil && d.err == nil {
			if d, err = b.ask(authenticate, 0, long([]byte(text))); err == nil {
				d.errorCode("signing in as " + user)
				d.short()
				return string(d.bytes(d.fixed(4)))
			}
		}
		return ""
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha512.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	nonce := rand.Text()
	opening := "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) + ",r=" + nonce
	challenge := say("n,," + opening)
	var both, salt string
	var rounds int
	for _, part := range strings.Split(challenge, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "r":
			both = value
		case "s":
			salt = value
		case "i":
			fmt.Sscan(value, &rounds)
		}
	}
	if !strings.HasPrefix(both, nonce) || rounds < 4096 {
		return errors.Join(err, d.err, errors.New("the broker's challenge is none of SCRAM"))
	}
	raw, _ := base64.StdEncoding.DecodeString(salt)
	salted, err := pbkdf2.Key(sha512.New, password, raw, rounds, sha512.Size)
	proof := mac(salted, "Client Key")
	stored := sha512.Sum512(proof)
	closing := "c=biws,r=" + both
	signed := opening + "," + challenge + "," + closing
	for i, x := range mac(stored[:], signed) {
		proof[i] ^= x
	}
	last := say(closing + ",p=" + base64.StdEncoding.EncodeToString(proof))
	if want := "v=" + base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), signed)); last != want {
		return errors.Join(err, d.err, errors.New("signing in failed"))
	}
	return nil
}

// leaders gives the address of the broker that leads each partition of a topic.
func (b *broker) leaders(topic string) (map[int]string, error) {
	d, err := b.ask(metadata, 4, append(append([]byte{0, 0, 0, 1}, short(topic)...), 0))
	if err != nil {
		return nil, err
	}
	d.fixed(4)
	addresses, leaders := map[int64]string{}, map[int]string{}
	for n := d.fixed(4); n > 0 && d.err == nil; n-- {
		id, host := d.fixed(4), d.short()
		addresses[id] = net.JoinHostPort(host, fmt.Sprint(d.fixed(4)))
		d.short()
	}
	d.short()
	d.fixed(4)
	for n := d.fixed(4); n > 0 && d.err == nil; n-- {
		d.errorCode(topic)
		d.short()
		d.fixed(1)
		for n := d.fixed(4); n > 0 && d.err == nil; n-- {
			d.fixed(2)
			partition := d.fixed(4)
			leaders[int(partition)] = addresses[d.fixed(4)]
			for range 2 {
				d.bytes(4 * d.fixed(4))
			}
		}
	}
	return leaders, d.err
}

// of names one partition of a topic in a request.
func of(topic string, partition int, rest ...byte) []byte {
	head := append(append([]byte{0, 0, 0, 1}, short(topic)...), 0, 0, 0, 1)
	return append(binary.BigEndian.AppendUint32(head, uint32(partition)), rest...)
}

// end gives the offset of the next message of a partition.
func (b *broker) end(topic string, partition int) (int64, error) {
	latest := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	d, err := b.ask(listOffsets, 1, append(latest[:4], of(topic, partition, latest...)...))
	if err != nil {
		return 0, err
	}
	d.fixed(4)
	d.short()
	d.fixed(4)
	d.fixed(4)
	d.errorCode(topic)
	d.fixed(8)
	return d.fixed(8), d.err
}

// read gives the batches of a partition from an offset on: whole ones, and what the last one has of its bytes.
func (b *broker) read(topic string, partition int, from int64) ([]byte, error) {
	request := binary.BigEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, 1000) // no replica; wait for 1 s
	request = binary.BigEndian.AppendUint32(request, 1)
	request = binary.BigEndian.AppendUint32(request, 16<<20)
	request = append(request, 0)
	rest := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, uint64(from)), 16<<20)
	d, err := b.ask(fetch, 4, append(request, of(topic, partition, rest...)...))
	if err != nil {
		return nil, err
	}
	d.fixed(4)
	d.fixed(4)
	d.short()
	d.fixed(4)
	d.fixed(4)
	d.errorCode(topic)
	d.fixed(16)
	d.bytes(16 * max(d.fixed(4), 0))
	return d.bytes(max(d.fixed(4), 0)), d.err
}

// batch takes the first batch off what was read, and hands on its messages; false where it is not whole.
func batch(d *decoder, take func(Message) error) (bool, error) {
	if len(d.rest) < 12 {
		return false, nil
	}
	begin, size := d.fixed(8), d.fixed(4)
	if size > int64(len(d.rest)) {
		return false, nil
	}
	b := &decoder{rest: d.bytes(size)}
	b.fixed(4)
	if magic := b.fixed(1); magic != 2 {
		return false, fmt.Errorf("offset %d: a batch of form %d", begin, magic)
	}
	sum := uint32(b.fixed(4))
	if sum != crc32.Checksum(b.rest, crc32.MakeTable(crc32.Castagnoli)) {
		return false, fmt.Errorf("offset %d: the batch is damaged", begin)
	}
	kind := b.fixed(2)
	if kind&7 != 0 || kind&0x20 != 0 {
		return false, fmt.Errorf("offset %d: the batch is compressed, or of a transaction", begin)
	}
	b.fixed(4)
	first, last := b.fixed(8), b.fixed(8)
	b.bytes(14)
	for n := b.fixed(4); n > 0 && b.err == nil; n-- {
		b.long()
		b.bytes(1)
		m := Message{RecordedAt: Time(first + b.long())}
		if kind&8 != 0 { // LogAppendTime: the broker's time is that of the batch
			m.RecordedAt = Time(last)
		}
		m.Offset = begin + b.long()
		m.Key = string(b.bytes(max(b.long(), 0)))
		m.Value = b.bytes(max(b.long(), 0))
		for n := b.long(); n > 0 && b.err == nil; n-- {
			name := string(b.bytes(b.long()))
			if text := string(b.bytes(max(b.long(), 0))); name == "schema_sha256" {
				m.SchemaHeaders = append(m.SchemaHeaders, &text)
			}
		}
		if b.err == nil {
			if err := take(m); err != nil {
				return false, err
			}
		}
	}
	return true, b.err
}
