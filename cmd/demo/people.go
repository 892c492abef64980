package main

import "strings"

// person is somebody who may sign up. The name is in the order of its language.
type person struct {
	name    string
	address string // the part of the email before the number
	country string
	age     int // what agify knows of the first word of the name, 0 for nothing
}

// people is who signs up. The ages are invented.
func people() []person {
	return []person{
		{"Michael Brown", "michael.brown", "US", 57},
		{"Emma Johnson", "emma.johnson", "US", 31},
		{"Mary-Jane O'Neil", "mj.oneil", "IE", 0},
		{"Oliver Smith", "oliver.smith", "GB", 29},
		{"Siobhán Murphy", "siobhan.murphy", "IE", 44},
		{"José García Márquez", "jose.garcia", "ES", 52},
		{"María Núñez", "maria.nunez", "MX", 48},
		{"Lucía Fernández", "lucia.fernandez", "AR", 33},
		{"João da Conceição", "joao.conceicao", "PT", 46},
		{"Beatriz Araújo", "beatriz.araujo", "BR", 30},
		{"François Lefèvre", "francois.lefevre", "FR", 61},
		{"Chloé Dubois", "chloe.dubois", "FR", 26},
		{"Jürgen Groß", "juergen.gross", "DE", 63},
		{"Käthe Öztürk", "kaethe.oeztuerk", "DE", 0},
		{"Giulia D'Angelo", "giulia.dangelo", "IT", 28},
		{"Søren Ångström", "soren.angstrom", "DK", 55},
		{"Åsa Lindqvist", "asa.lindqvist", "SE", 59},
		{"Aino Mäkelä", "aino.makela", "FI", 35},
		{"Łukasz Żółkowski", "lukasz.zolkowski", "PL", 38},
		{"Zsófia Kővári", "zsofia.kovari", "HU", 27},
		{"Dvořák", "dvorak", "CZ", 0},
		{"Ștefan Țîrlea", "stefan.tirlea", "RO", 42},
		{"Анна Иванова", "anna.ivanova", "BG", 41},
		{"Дмитро Шевченко", "dmytro.shevchenko", "UA", 39},
		{"Ελένη Παπαδοπούλου", "eleni.papadopoulou", "GR", 45},
		{"Ayşe Yılmaz", "ayse.yilmaz", "TR", 43},
		{"נועה כהן", "noa.cohen", "IL", 25},
		{"محمد الحسن", "mohammed.alhassan", "EG", 37},
		{"فاطمه رضایی", "fatemeh.rezaei", "IR", 0},
		{"प्रिया शर्मा", "priya.sharma", "IN", 32},
		{"Aarav Patel", "aarav.patel", "IN", 24},
		{"李娜", "li.na", "CN", 36},
		{"王小明", "wang.xiaoming", "CN", 0},
		{"田中 さくら", "tanaka.sakura", "JP", 0},
		{"김민준", "kim.minjun", "KR", 0},
		{"Nguyễn Thị Mai", "nguyen.mai", "VN", 34},
		{"สมชาย ใจดี", "somchai.jaidee", "TH", 0},
		{"Siti Nurhaliza", "siti.nurhaliza", "MY", 40},
		{"Kwame Asante", "kwame.asante", "GH", 47},
		{"Chiamaka Okonkwo", "chiamaka.okonkwo", "NG", 29},
		{"Thabo Ndlovu", "thabo.ndlovu", "ZA", 0},
		{"Keahi Kealoha", "keahi.kealoha", "US", 0},
		{"Xælynn Qwerty", "xaelynn.qwerty", "US", 0},
	}
}

// ages is what agify knows: the age by the first word of the name, in lower case.
func ages(people []person) map[string]int {
	known := make(map[string]int, len(people))
	for _, p := range people {
		if p.age > 0 {
			first, _, _ := strings.Cut(p.name, " ")
			known[strings.ToLower(first)] = p.age
		}
	}
	return known
}
