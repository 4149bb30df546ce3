// Checks a tree's files with Go's own checksum-database packages, and none of ours: the signature of the checkpoint,
// its root, the inclusion of random leaves with their entries, and the consistency of random sizes.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// files reads tiles where c2sp.org/tlog-tiles has them.
type files struct{ folder string }

func (f files) Height() int { return height }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		content, err := os.ReadFile(filepath.Join(f.folder, path(strconv.Itoa(tile.L), tile.N, tile.W)))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func path(level string, n int64, width int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	if width < 1<<height {
		number += fmt.Sprintf(".p/%d", width)
	}
	return "tile/" + level + "/" + number
}

// entry returns an entry of the tree of a size from its bundle.
func (f files) entry(index, size int64) ([]byte, error) {
	n := index >> height
	content, err := os.ReadFile(filepath.Join(f.folder, path("entries", n, int(min(1<<height, size-n<<height)))))
	if err != nil {
		return nil, err
	}
	for ; index&(1<<height-1) > 0; index-- {
		content = content[2+binary.BigEndian.Uint16(content):]
	}
	return content[2 : 2+binary.BigEndian.Uint16(content)], nil
}

func main() {
	folder, key := os.Args[1], os.Args[2]
	samples, err := strconv.Atoi(os.Args[3])
	check(err)
	verifier, err := note.NewVerifier(key)
	check(err)
	signed, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	tree := tlog.Tree{N: size, Hash: tlog.Hash(hash)}
	reader := tlog.TileHashReader(tree, files{folder})
	root, err := tlog.TreeHash(size, reader)
	check(err)
	if root != tree.Hash {
		log.Fatalf("the tiles have root %v, the checkpoint %v", root, tree.Hash)
	}
	for range samples {
		index := rand.Int63n(size)
		proof, err := tlog.ProveRecord(size, index, reader)
		check(err)
		entry, err := files{folder}.entry(index, size)
		check(err)
		check(tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)))
		old := 1 + rand.Int63n(size)
		before, err := tlog.TreeHash(old, reader)
		check(err)
		extends, err := tlog.ProveTree(size, old, reader)
		check(err)
		check(tlog.CheckTree(extends, size, root, old, before))
		fmt.Println(index, base64.StdEncoding.EncodeToString(entry), hashes(proof), old, before, hashes(extends))
	}
}

func hashes(proof []tlog.Hash) string {
	var found []string
	for _, one := range proof {
		found = append(found, one.String())
	}
	return strings.Join(found, ",")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
