package etagcache

import "strings"

// slots is the number of hash slots in a cluster.
const slots = 16384

// slot returns the hash slot of a key. It repeats what go-redis keeps in an internal
// package. See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
func slot(key string) int {
	tag, _ := hashTag(key)
	var crc uint16
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
	}
	return int(crc % slots)
}

// hashTag returns the part of a key that determines its slot: the text between the
// first pair of braces, or the whole key.
func hashTag(key string) (tag string, tagged bool) {
	if _, after, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(after, "}"); found && tag != "" {
			return tag, true
		}
	}
	return key, false
}

// crc16 is the table of CRC-16/XMODEM.
var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
