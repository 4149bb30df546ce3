package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// digest is the hash of the whole state; nil before a definition.
func (c *Contest) digest() any {
	if c.definition == nil {
		return nil
	}
	var buckets [256][]string
	for name := range c.units {
		n := sha256.Sum256([]byte(name))[0]
		buckets[n] = append(buckets[n], name)
	}
	roll := make([]byte, 32)
	if c.roll.isHeld {
		h := sha256.New()
		for _, leaf := range c.roll.holds.leaves {
			h.Write(leaf[:])
		}
		roll = h.Sum(nil)
	}
	whole := sha256.New()
	whole.Write(c.definition.leaf[:])
	whole.Write(roll)
	for _, names := range buckets {
		slices.Sort(names)
		bucket := sha256.New()
		for _, name := range names {
			u := c.units[name]
			bucket.Write(u.state.leaf[:])
			bucket.Write(u.head.leaf[:])
		}
		whole.Write(bucket.Sum(nil))
	}
	return hex.EncodeToString(whole.Sum(nil))
}

// cursor is the hash of the partition: of the digests of its contests.
func (l *Log) cursor() string {
	h := sha256.New()
	for _, id := range keys(l.contests) {
		if digest := l.contests[id].digest(); digest != nil {
			fmt.Fprintf(h, "%s %s\n", id, digest)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
