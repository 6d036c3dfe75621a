module example.com/revoker/gateway

go 1.22
