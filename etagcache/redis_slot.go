package etagcache

import "strings"

// slots is the number of hash slots of a cluster.
const slots = 16384

// slot returns the hash slot of a key.
func slot(key string) int {
	tag, _ := hashTag(key)
	var crc uint16
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
	}
	return int(crc % slots)
}

// hashTag returns the part of a key that decides on its slot.
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
