from committed import save as save
