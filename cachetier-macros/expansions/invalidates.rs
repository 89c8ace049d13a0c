async fn rename(db: &Db, org: u64, id: u64, name: &str) -> Result<(), DbError> {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __targets = ::cachetier::attribute::Targets {
        keys: ::std::vec![
            { let mut __key = ::cachetier::KeyText::new(); __key.literal("user:"); __key
            .part(& (id)); ::std::string::String::from(__key) }
        ],
        tags: ::std::vec![
            { let mut __key = ::cachetier::KeyText::new(); __key.literal("org:"); __key
            .part(& (org)); ::std::string::String::from(__key) }
        ],
        prefixes: ::std::vec![],
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __cache = ::cachetier::attribute::installed();
    #[allow(clippy::all, clippy::pedantic)]
    let __done = {
        let __returned: Result<(), DbError> = async move {
            if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                Result<(), DbError>,
            > {
                return __returned;
            }
            #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
            let __returned: Result<(), DbError> = { db.rename(id, name).await };
            #[allow(unreachable_code)] return __returned;
        }
            .await;
        match (&&&::cachetier::attribute::DoneProbe::of(&__returned)).done(__returned) {
            ::std::result::Result::Ok(__done) => __done,
            ::std::result::Result::Err(__returned) => return __returned,
        }
    };
    ::cachetier::attribute::invalidate_after(__cache, __targets).await;
    __done.returned()
}
